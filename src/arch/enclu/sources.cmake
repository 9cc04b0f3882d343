# SPDX-License-Identifier: Apache-2.0
list(APPEND arch_sources
  enclu/access.cc
  enclu/aex.cc
  enclu/eaccept.cc
  enclu/eacceptcopy.cc
  enclu/edeccssa.cc
  enclu/eenter.cc
  enclu/eexit.cc
  enclu/egetkey.cc
  enclu/emodpe.cc
  enclu/enclu.cc
  enclu/ereport.cc
  enclu/eresume.cc
  enclu/operand.cc
  enclu/ssa.cc
  enclu/tcs_claim.cc
  enclu/xstate.cc)
