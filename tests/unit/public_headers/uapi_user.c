// SPDX-License-Identifier: Apache-2.0
#include "enclume/uapi/sgx_enclu_handler.h"
#include "enclume/uapi/sgx_vdso_enclu.h"

unsigned long uapi_user_register_number(void);
unsigned long uapi_user_register_number(void) {
  struct sgx_enclu_handler argument = {0, SGX_ENCLU_HANDLER_WRITE_ONCE};
  return SGX_IOC_ENCLU_HANDLER_REGISTER + argument.handler;
}

const char* uapi_user_function_name(void);
const char* uapi_user_function_name(void) {
  return SGX_VDSO_ENCLU_NAME;
}
