# SPDX-License-Identifier: Apache-2.0
list(APPEND arch_sources
  encls/eadd.cc
  encls/eaug.cc
  encls/eblock.cc
  encls/ecreate.cc
  encls/edbg.cc
  encls/eextend.cc
  encls/einit.cc
  encls/eld.cc
  encls/emodpr.cc
  encls/emodt.cc
  encls/epa.cc
  encls/eremove.cc
  encls/etrack.cc
  encls/ewb.cc)
