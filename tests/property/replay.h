/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sequence of calls is made of: an enclave some of whose pages are to be added, changed and removed,
 * and one function for each thing that a program can do to them. C, so that a failing sequence can be printed
 * as a program.
 *
 * A result is a text, since it is to be compared and shown: "done", "value 0x5c3", "RAX 19", "#GP",
 * "#PF(0x8007) at page 3", "EENTER: #PF(0x8005) at page 3", "EFAULT after 2 pages, code 20". Of a page fault
 * that is not the EPCM's, bit P says whether there was a page-table entry at the time, which the kernel's
 * reclaimer decides; it is left out.
 */
#ifndef ENCLUME_TESTS_PROPERTY_REPLAY_H_
#define ENCLUME_TESTS_PROPERTY_REPLAY_H_

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Pages are numbered. Of REPLAY_PAGES the first REPLAY_ADDED are added read-write before EINIT, with their
 * number in the first word; the rest are holes, mapped read-write.
 */
#define REPLAY_ADDED 8
#define REPLAY_PAGES 16
#define REPLAY_THREADS 4

/* SECINFO.FLAGS */
#define REPLAY_R 1
#define REPLAY_W 2
#define REPLAY_X 4
#define REPLAY_PENDING 8
#define REPLAY_MODIFIED 0x10
#define REPLAY_PR 0x20
#define REPLAY_TYPE(type) (UINT64_C(256) * (type))

struct replay;
struct replay_result {
  char text[72];
};

/* `steps`: how many there are in all, if they come in turns. Null if there is no enclave to be had, with a
 * message. */
struct replay* replay_open(unsigned steps);
void replay_close(struct replay*);

/*
 * Turns: thread A calls replay_wait(r, 0) … replay_advance(r, 0), then whoever has the step 1. False when the
 * sequence was stopped. Threads that take no turns just call on.
 */
int replay_wait(struct replay*, unsigned step);
void replay_advance(struct replay*, unsigned step);
void replay_stop(struct replay*);
int replay_stopped(const struct replay*);

/* In the enclave, by one of its threads. */
struct replay_result replay_read(struct replay*, unsigned thread, unsigned page);
struct replay_result replay_write(struct replay*, unsigned thread, unsigned page, uint64_t value);
struct replay_result replay_execute(struct replay*, unsigned thread,
                                    unsigned page); /* calls its first byte */
struct replay_result replay_put_tcs(struct replay*, unsigned thread,
                                    unsigned page); /* writes the image of one */
struct replay_result replay_accept(struct replay*, unsigned thread, unsigned page, uint64_t secinfo_flags);
struct replay_result replay_accept_copy(struct replay*, unsigned thread, unsigned to, unsigned from,
                                        uint64_t secinfo_flags);
struct replay_result replay_extend(struct replay*, unsigned thread, unsigned page, uint64_t secinfo_flags);
/* EENTER of the page as a TCS, and straight out again. */
struct replay_result replay_enter(struct replay*, unsigned thread, unsigned page);
/* Gives up its turn `step` and stays in the enclave until it is the turn of `until`. */
struct replay_result replay_stay(struct replay*, unsigned thread, unsigned step, unsigned until);
/* Works on pages of the thread's own; those of all threads are more than an EPC of 1 MiB. The words that are
 * wrong. */
struct replay_result replay_press(struct replay*, unsigned thread);

/* The ioctls, on `count` pages, tried again on EBUSY (another thread is in one); and mprotect. */
struct replay_result replay_restrict(struct replay*, unsigned page, unsigned count, uint64_t permissions);
struct replay_result replay_modify(struct replay*, unsigned page, unsigned count, uint64_t type);
struct replay_result replay_remove(struct replay*, unsigned page, unsigned count);
struct replay_result replay_protect(struct replay*, unsigned page, int protection);

/* For printed programs. Runs the bodies, each in a thread; 0 if no expectation failed. */
typedef void (*replay_body)(struct replay*);
int replay_run(struct replay*, const replay_body* bodies, unsigned count);
/* Says so, if it is not, and stops the sequence. */
void replay_expect(struct replay*, unsigned line, struct replay_result, const char* expected);

#define REPLAY_EXPECT(call, expected) replay_expect(r, __LINE__, call, expected)
#define REPLAY_TURN(step, call, expected) \
  do {                                    \
    if (!replay_wait(r, step)) return;    \
    REPLAY_EXPECT(call, expected);        \
    replay_advance(r, step);              \
  } while (0)
#define REPLAY_STAY(step, thread, until)                        \
  do {                                                          \
    if (!replay_wait(r, step)) return;                          \
    REPLAY_EXPECT(replay_stay(r, thread, step, until), "done"); \
  } while (0)

#ifdef __cplusplus
}
#endif

#endif
