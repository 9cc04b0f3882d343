// SPDX-License-Identifier: Apache-2.0
// enclume-load: what is executed in place of a static program, so that the dynamic linker loads the engine
// into the process; the engine then maps the program (engine/start/load.h) and this one goes.
//
// It refers to no variable of libc's: they would be copied into it (R_X86_64_COPY), and it is unmapped.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "ENCLUME_LOAD_"
#define HIDE PREFIX "HIDE_"

static const char* value_of(char** environment, const char* name) {
  for (; *environment != NULL; ++environment) {
    if (strncmp(*environment, name, strlen(name)) == 0) {
      return *environment + strlen(name);
    }
  }
  return NULL;
}

static void say(const char* text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) {
    _exit(126);
  }
}

// Without the engine (the dynamic linker ignores LD_PRELOAD where the user's rights differ from the effective
// ones, or its file is gone) the program runs without it, as a dynamic one does.
static void run_without_engine(char** argv, char** environment) {
  const char* name = value_of(environment, PREFIX "NAME=");
  const char* file = value_of(environment, PREFIX "FILE=");
  const char* fd = value_of(environment, PREFIX "FD=");
  char** kept = environment;
  for (char** entry = environment; *entry != NULL; ++entry) {
    if (strncmp(*entry, HIDE, strlen(HIDE)) == 0) {
      *kept++ = *entry + strlen(HIDE);
    } else if (strncmp(*entry, PREFIX, strlen(PREFIX)) != 0) {
      *kept++ = *entry;
    }
  }
  *kept = NULL;
  if (fd != NULL) {
    const int number = atoi(fd);
    fcntl(number, F_SETFD, FD_CLOEXEC);
    fexecve(number, argv, environment);
  } else {
    execve(file != NULL ? file : name, argv, environment);
  }
  say("enclume: cannot execute ");
  say(name);
  say("\n");
}

int main(int argc, char** argv, char** environment) {
  (void)argc;
  if (value_of(environment, PREFIX "NAME=") == NULL) {
    say("enclume-load: this is a part of Enclume, started by `enclume run` for static programs\n");
    return 2;
  }
  void (*load)(char**) = NULL;
  void* found = dlsym(RTLD_DEFAULT, "enclume_load_program");
  memcpy(&load, &found, sizeof(load));
  if (load != NULL) {
    load(argv);
  }
  run_without_engine(argv, environment);
  return 126;
}
