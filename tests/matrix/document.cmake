# SPDX-License-Identifier: Apache-2.0
# docs/exception-matrix.md is what the rows say.
execute_process(COMMAND ${ENCLUME} matrix --expected --format markdown
  OUTPUT_VARIABLE expected COMMAND_ERROR_IS_FATAL ANY)
file(READ ${DOCUMENT} is)
if(NOT is STREQUAL expected)
  message(FATAL_ERROR "${DOCUMENT} is stale; run: enclume matrix --expected --format markdown > ${DOCUMENT}")
endif()
