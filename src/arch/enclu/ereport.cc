// SPDX-License-Identifier: Apache-2.0
// EREPORT (SDM Vol. 3D, "ENCLU[EREPORT]"): RBX = TARGETINFO, RCX = REPORTDATA, RDX = where the REPORT goes.
#include <cstring>

#include "arch/enclu/enclu.h"
#include "arch/enclu/operand.h"
#include "arch/identity/keys.h"
#include "arch/structs/report.h"
#include "arch/structs/secs.h"
#include "arch/structs/targetinfo.h"

namespace enclume::arch {

namespace {

// CET is not offered, so its attributes are reserved too.
bool reserved_clear(const Targetinfo& t) {
  return t.cet_attributes == 0 && all_zero(t.reserved1) && all_zero(t.reserved2) && all_zero(t.reserved3);
}

Report identity_of(const Machine& machine, Secs& secs) {
  Report r{};
  r.cpusvn = machine.config.cpusvn;
  r.miscselect = secs.miscselect;
  r.isv_ext_prod_id = secs.internal.isv_ext_prod_id;
  r.attributes = secs.attributes;
  r.mrenclave = secs.mrenclave;
  r.mrsigner = secs.mrsigner;
  r.config_id = secs.config_id;
  r.isv_prod_id = secs.isv_prod_id;
  r.isv_svn = secs.isv_svn;
  r.config_svn = secs.config_svn;
  r.isv_family_id = secs.internal.isv_family_id;
  return r;
}

}  // namespace

LeafResult ereport(const Machine& machine, LogicalProcessor& lp, CpuState& cpu,
                   AddressSpace& space) noexcept {
  const auto targetinfo =
      enclave_operand(lp, space, cpu.address(Reg::Rbx), kTargetinfoAlignment, Access::Read);
  if (!targetinfo.has_value()) {
    return raise(targetinfo.error());
  }
  const auto target = snapshot<Targetinfo>(targetinfo->data);
  if (!reserved_clear(target)) {
    return raise(general_protection());
  }
  const auto reportdata =
      enclave_operand(lp, space, cpu.address(Reg::Rcx), kReportdataAlignment, Access::Read);
  if (!reportdata.has_value()) {
    return raise(reportdata.error());
  }
  const auto output = enclave_operand(lp, space, cpu.address(Reg::Rdx), kReportAlignment, Access::Write);
  if (!output.has_value()) {
    return raise(output.error());
  }

  Secs& secs = secs_of(lp.secs);
  Report report = identity_of(machine, secs);
  report.report_data = snapshot<Bytes<64>>(reportdata->data);
  report.keyid = report_keyid(machine);
  report.mac = report_mac(report_key(machine.config, secs, target, report.keyid), report);
  std::memcpy(output->data, &report, sizeof(report));
  retire(lp, cpu);
  return leaf_success();
}

}  // namespace enclume::arch
