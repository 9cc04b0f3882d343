/* SPDX-License-Identifier: Apache-2.0
 *
 * The library for Node. Of Node-API, whose ABI is stable, this is all that is needed; Debian has its header
 * in libnode-dev only. Source: https://nodejs.org/docs/latest-v18.x/api/n-api.html
 */
#include <stddef.h>
#include <stdint.h>

#include "coexist/library.h"

typedef struct napi_env__* napi_env;
typedef struct napi_value__* napi_value;
typedef struct napi_callback_info__* napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);
typedef int napi_status;

extern napi_status napi_create_function(napi_env, const char*, size_t, napi_callback, void*, napi_value*);
extern napi_status napi_set_named_property(napi_env, napi_value, const char*, napi_value);
extern napi_status napi_get_cb_info(napi_env, napi_callback_info, size_t*, napi_value*, napi_value*, void**);
extern napi_status napi_get_value_int64(napi_env, napi_value, int64_t*);
extern napi_status napi_create_int64(napi_env, int64_t, napi_value*);

static int64_t argument(napi_env environment, napi_value value) {
  int64_t number = 0;
  napi_get_value_int64(environment, value, &number);
  return number;
}

static napi_value result(napi_env environment, uint64_t number) {
  napi_value value = NULL;
  napi_create_int64(environment, (int64_t)number, &value);
  return value;
}

static napi_value sum(napi_env environment, napi_callback_info info) {
  napi_value values[2] = {NULL, NULL};
  size_t count = 2;
  napi_get_cb_info(environment, info, &count, values, NULL, NULL);
  return result(environment, coexist_sum((uint64_t)argument(environment, values[0]),
                                         (uint64_t)argument(environment, values[1])));
}

static napi_value fault(napi_env environment, napi_callback_info info) {
  napi_value value = NULL;
  size_t count = 1;
  napi_get_cb_info(environment, info, &count, &value, NULL, NULL);
  return result(environment, (uint64_t)coexist_fault((unsigned)argument(environment, value)));
}

static napi_value exceptions(napi_env environment, napi_callback_info info) {
  (void)info;
  return result(environment, coexist_exceptions());
}

static void export_function(napi_env environment, napi_value exports, const char* name,
                            napi_callback function) {
  napi_value value = NULL;
  napi_create_function(environment, name, (size_t)-1, function, NULL, &value);
  napi_set_named_property(environment, exports, name, value);
}

__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env environment,
                                                                          napi_value exports) {
  export_function(environment, exports, "sum", sum);
  export_function(environment, exports, "fault", fault);
  export_function(environment, exports, "exceptions", exceptions);
  return exports;
}
