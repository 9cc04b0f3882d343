# SPDX-License-Identifier: Apache-2.0
"""gdb's side of Enclume: shows a program its signals and not the engine's, and looks into its enclaves.

    gdb -x enclume-gdb.py --args enclume run -- PROGRAM ARGUMENT...
    gdb -x enclume-gdb.py -p PID
    gdb -x enclume-gdb.py -ex 'set exec-wrapper enclume run --' PROGRAM

Type "help enclume" then. docs/debugging.md tells the rest. Without the engine in the process the script changes
nothing.
"""

import bisect
import collections
import re
import struct

import gdb

# Not SIGTRAP, which the engine uses as well: gdb would hand on those of its own breakpoints, too.
SILENT = {4: "SIGILL", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 31: "SIGSYS"}
ENCLU = b"\x0f\x01\xd7"
INT3 = b"\xcc"
TRAP_FLAG = 0x100
ANNOUNCED = 0x454E434C  # src/engine/debugger.h: si_errno of a signal raised again
STARTED, SIGNAL, LOADED = 1, 2, 3
EENTER, ERESUME = 2, 3


def execute(command):
    return gdb.execute(command, to_string=True)


def quietly(command):
    """Runs a command that might ask the user."""
    confirm = gdb.parameter("confirm")
    execute("set confirm off")
    try:
        return execute(command)
    finally:
        execute("set confirm " + ("on" if confirm else "off"))


def symbol_address(name):
    try:
        return int(gdb.parse_and_eval("(unsigned long)&" + name)) & 0xFFFFFFFFFFFFFFFF
    except gdb.error:
        return None


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def write(address, data):
    gdb.selected_inferior().write_memory(address, data)


def word(address):
    return struct.unpack("<Q", read(address, 8))[0]


def register(name):
    return int(gdb.selected_thread_frame().read_register(name)) & 0xFFFFFFFFFFFFFFFF


def newest_frame_register(name):
    return int(gdb.newest_frame().read_register(name)) & 0xFFFFFFFFFFFFFFFF


# ---- The engine's signals ----


class SignalTable:
    """gdb's table of what to do with signals: silent for the engine's, the user's own while one is announced."""

    def __init__(self):
        self.wanted = {}
        self.quiet = False

    @staticmethod
    def ask(name):
        for line in execute("info signals " + name).splitlines():
            fields = line.split()
            if fields and fields[0] == name:
                return [flag == "Yes" for flag in fields[1:4]]
        raise gdb.GdbError("gdb does not know " + name)

    @staticmethod
    def set(name, stop, show, deliver):
        words = ["nopass" if not deliver else "pass"]
        # "stop" implies "print", and "noprint" implies "nostop": in this order all combinations can be had.
        words += ["print" if show else "noprint"] + (["stop"] if stop else ["nostop"])
        quietly("handle {} {}".format(name, " ".join(words)))

    def silence(self):
        if not self.quiet:
            self.wanted = {name: self.ask(name) for name in SILENT.values()}
            self.quiet = True
        for name in SILENT.values():
            self.set(name, False, False, True)

    def show(self, name):
        self.set(name, *self.wanted[name])

    def restore(self):
        if self.quiet:
            for name in SILENT.values():
                self.show(name)
            self.quiet = False


signals = SignalTable()


class EventBreakpoint(gdb.Breakpoint):
    """Where the engine tells what it is about to do (enclume_debugger_event)."""

    def __init__(self, address):
        super().__init__("*{:#x}".format(address), internal=True)
        self.silent = True

    def stop(self):
        event, signal = newest_frame_register("rdi") & 0xFFFFFFFF, newest_frame_register("rsi") & 0xFFFFFFFF
        if event == STARTED:
            session.started()
        elif event == LOADED:
            session.loaded()
        elif event == SIGNAL and signal in SILENT:
            signals.show(SILENT[signal])
        return False


class Session:
    """One process with the engine in it."""

    def __init__(self):
        self.breakpoint = None
        self.interface = None
        self.vdso = None
        self.stepping = {}

    def found_engine(self):
        event = symbol_address("enclume_debugger_event")
        interface = symbol_address("enclume_debugger")
        if event is None or interface is None:
            return
        self.forget()
        self.interface = interface
        signals.silence()
        self.breakpoint = EventBreakpoint(event)
        try:
            if word(interface + 8) != 0:  # attached to a process that runs
                self.started()
        except gdb.MemoryError:
            pass

    def started(self):
        version = struct.unpack("<I", read(self.interface, 4))[0]
        if version < 1:
            return
        write(self.interface + 4, struct.pack("<I", 1))
        slot = word(self.interface + 40)
        if slot != 0:  # enter by the ENCLU, where steps and breakpoints meet it
            write(slot, struct.pack("<Q", word(self.interface + 48)))
        vdso = word(self.interface + 8)
        if vdso != 0 and vdso != self.vdso:
            self.vdso = vdso
            try:
                # ld.so knows the image by a name that only the process itself can open.
                quietly("add-symbol-file-from-memory {:#x}".format(vdso))
            except gdb.error as error:
                gdb.write("enclume: no symbols of the vDSO: {}\n".format(error))

    def loaded(self):
        """A static program, which the engine has mapped in the place of its loader."""
        program, bias = word(self.interface + 24), word(self.interface + 32)
        path = gdb.selected_inferior().read_memory(program, 4096).tobytes().split(b"\0")[0].decode(errors="replace")
        try:
            # In place of the loader's, which has a main() of its own, and by whose place gdb would move it.
            quietly("symbol-file")
            quietly("add-symbol-file \"{}\" -o {:#x}".format(path, bias))
        except gdb.error as error:
            gdb.write("enclume: no symbols of {}: {}\n".format(path, error))

    def forget(self):
        if self.breakpoint is not None and self.breakpoint.is_valid():
            self.breakpoint.delete()
        self.breakpoint = None
        self.interface = None
        self.vdso = None
        self.stepping.clear()

    def detach(self):
        if self.interface is not None:
            try:
                write(self.interface + 4, struct.pack("<I", 0))
            except gdb.error:
                pass


session = Session()


def on_new_objfile(event):
    if event.new_objfile.filename is not None and "libenclume-engine.so" in event.new_objfile.filename:
        session.found_engine()


def on_exited(_):
    session.forget()
    signals.restore()


def on_stop(_):
    if session.interface is None:
        return
    signals.silence()
    thread = gdb.selected_thread()
    if thread is None:
        return
    # TF was ours, not the program's: it has done its work.
    if session.stepping.pop(thread.ptid, False):
        execute("set $eflags = $eflags & ~{:#x}".format(TRAP_FLAG))


def thread_at_enclu():
    """Whether the selected thread is stopped at an ENCLU, with the engine there to execute it."""
    thread = gdb.selected_thread()
    if session.interface is None or thread is None or not thread.is_stopped():
        return False
    try:
        return read(newest_frame_register("pc"), 3) == ENCLU
    except gdb.MemoryError:
        return False


def before_step():
    """For "stepi" and its kin at an ENCLU. The signal that ENCLU raises ends gdb's own step, so the step is the
    engine's: with TF set it does what the processor would do."""
    if thread_at_enclu() and newest_frame_register("eflags") & TRAP_FLAG == 0:
        session.stepping[gdb.selected_thread().ptid] = True
        execute("set $eflags = $eflags | {:#x}".format(TRAP_FLAG))


def before_continue():
    """For "continue" from a breakpoint on an ENCLU. To step off it first, gdb would plant another there for when the
    signal's handler returns, and never stop at the user's again. So the thread executes the ENCLU elsewhere."""
    if not thread_at_enclu():
        return
    pc = newest_frame_register("pc")
    elsewhere = symbol_address("enclume_debugger_enclu")
    locations = execute("info breakpoints")
    if elsewhere is not None and re.search(r"\b0x0*{:x}\b".format(pc), locations):
        write(session.interface + 16, struct.pack("<Q", pc))
        execute("set $pc = {:#x}".format(elsewhere))


for command in ("stepi", "nexti", "step", "next"):
    gdb.execute("define hook-{}\npython before_step()\nend".format(command))
gdb.execute("define hook-continue\npython before_continue()\nend")
gdb.execute("define hook-detach\npython session.detach()\nend")


# ---- Enclaves, from the files that they are mapped from (src/kernel/layout.h) ----

METADATA = 1 << 46
BACKING = 1 << 47
PAGE = 4096

Mapping = collections.namedtuple("Mapping", "begin end offset file")


def mappings():
    """Mappings of enclave files, by file."""
    pid = gdb.selected_inferior().pid
    if pid == 0:
        raise gdb.GdbError("The program is not being run.")
    files = collections.defaultdict(list)
    pattern = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) (\S+ \d+)\s+/memfd:sgx_enclave")
    with open("/proc/{}/maps".format(pid), encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = pattern.match(line)
            if match:
                begin, end, offset = (int(match.group(i), 16) for i in (1, 2, 3))
                files[match.group(4)].append(Mapping(begin, end, offset, match.group(4)))
    return files


class Enclave:
    """One enclave: its SECS, and where its pages and their state are in the process."""

    def __init__(self, parts):
        # The header alone may be mapped beside the whole part.
        metadata = [m for m in parts if m.offset == METADATA and m.end - m.begin > PAGE]
        if not metadata:
            raise ValueError("not mapped")
        self.metadata = metadata[0].begin
        secs = read(self.metadata + PAGE, PAGE)
        self.size, self.base, self.frame_pages, self.miscselect = struct.unpack_from("<QQII", secs)
        if self.size == 0:
            raise ValueError("not created")
        self.attributes, self.xfrm = struct.unpack_from("<QQ", secs, 48)
        self.mrenclave, self.mrsigner = secs[64:96].hex(), secs[128:160].hex()
        self.linear = [m for m in parts if m.offset < METADATA and m.begin - m.offset == self.base]
        self.alias = [m for m in parts if m.offset < METADATA and m.begin - m.offset != self.base]
        pages = self.size // PAGE
        va_pages = pages // 512 + 1

        def page_up(n):
            return (n + PAGE - 1) // PAGE * PAGE

        self.epcm = self.metadata + 2 * PAGE
        self.page_table = self.epcm + page_up((pages + 1 + va_pages) * 32)
        self.index = self.page_table + page_up(pages * 8)

    @property
    def debug(self):
        return self.attributes & 2 != 0

    @property
    def initialised(self):
        return self.attributes & 1 != 0

    def contains(self, address):
        return self.base <= address < self.base + self.size

    def present_pages(self):
        """Numbers of the pages that exist, by the lowest level of the presence index."""
        words = (self.size // PAGE + 63) // 64
        for start in range(0, words, 65536):
            count = min(65536, words - start)
            bits = struct.unpack("<{}Q".format(count), read(self.index + 8 * start, 8 * count))
            for i, value in enumerate(bits):
                while value:
                    low = value & -value
                    yield (start + i) * 64 + low.bit_length() - 1
                    value ^= low

    def epcm_entry(self, page):
        state, _, _, _, _, owner = struct.unpack("<IIQQII", read(self.epcm + 32 * page, 32))
        return state, owner

    def resident(self, page):
        state, _ = self.epcm_entry(page)
        return state & 1 != 0

    def threads(self):
        """(address of the TCS, id of the thread inside or 0), for each TCS in the EPC."""
        for page in self.present_pages():
            state, owner = self.epcm_entry(page)
            if state & 1 and state >> 8 & 0xFF == 1:
                yield self.base + page * PAGE, owner

    def place(self, address):
        """The address of the same byte in the engine's own mapping, which can be written."""
        offset = address - self.base
        for m in self.alias:
            if m.offset <= offset < m.offset + (m.end - m.begin):
                return m.begin + offset - m.offset
        raise gdb.GdbError("The engine has not mapped {:#x}.".format(address))

    def bytes_at(self, address, size):
        """Memory of the enclave as it sees it, page by page."""
        result = b""
        while size > 0:
            if not self.contains(address):
                raise gdb.GdbError("{:#x} is outside the enclave.".format(address))
            part = min(size, PAGE - address % PAGE)
            if not self.resident((address - self.base) // PAGE):
                raise gdb.GdbError("The page at {:#x} is not in the EPC.".format(address - address % PAGE))
            result += read(self.place(address), part)
            address, size = address + part, size - part
        return result


def enclaves():
    found = []
    for parts in mappings().values():
        try:
            found.append(Enclave(parts))
        except (ValueError, gdb.MemoryError):
            pass
    return sorted(found, key=lambda e: e.base)


def enclave_at(address):
    for enclave in enclaves():
        if enclave.contains(address):
            return enclave
    raise gdb.GdbError("No enclave at {:#x}.".format(address))


# ---- SSA frames ----

GPRS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
VECTORS = {0: "#DE", 1: "#DB", 3: "#BP", 5: "#BR", 6: "#UD", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC",
           19: "#XM", 21: "#CP"}


class SsaFrame:
    """The newest SSA frame of a TCS: what the last asynchronous exit saved."""

    def __init__(self, tcs):
        self.tcs = tcs
        self.enclave = enclave_at(tcs)
        state, _ = self.enclave.epcm_entry((tcs - self.enclave.base) // PAGE)
        if tcs % PAGE or not state & 1 or state >> 8 & 0xFF != 1:
            raise gdb.GdbError("There is no TCS at {:#x}.".format(tcs))
        fields = struct.unpack("<QQQIIQQ", self.enclave.bytes_at(tcs, 48))
        self.flags, ossa, self.cssa, self.nssa, self.aep = fields[1], fields[2], fields[3], fields[4], fields[6]
        if self.cssa == 0:
            raise gdb.GdbError("TCS {:#x} has no saved frame: CSSA is 0.".format(tcs))
        end = self.enclave.base + ossa + self.cssa * self.enclave.frame_pages * PAGE
        saved = struct.unpack("<16QQQQQIIQQ", self.enclave.bytes_at(end - 184, 184))
        self.registers = dict(zip(GPRS, saved))
        (self.registers["eflags"], self.registers["rip"], self.ursp, self.urbp, self.exitinfo, _,
         self.registers["fs_base"], self.registers["gs_base"]) = saved[16:]
        self.exinfo = None
        if self.enclave.miscselect & 1:
            self.exinfo = struct.unpack("<QI", self.enclave.bytes_at(end - 200, 12))

    def reason(self):
        if not self.exitinfo & 1 << 31:
            return "an interrupt, or an exception that is not reported"
        vector = self.exitinfo & 0xFF
        text = VECTORS.get(vector, "vector {}".format(vector))
        if self.exinfo is not None and vector in (13, 14):
            text += ", error code {:#x}".format(self.exinfo[1])
            text += ", address {:#x}".format(self.exinfo[0]) if vector == 14 else ""
        return text


def where(address):
    text = execute("info symbol {:#x}".format(address)).strip()
    return "" if text.startswith("No symbol") else " <{}>".format(text.split(" in section")[0])


def thread_is_at_enclu():
    return read(newest_frame_register("pc"), 3)[1:] == ENCLU[1:] and newest_frame_register("rax") & 0xFFFFFFFF in (
        EENTER, ERESUME)


def tcs_of_thread():
    """The TCS of the selected thread's innermost entry: that it is inside by, that RBX names at an ENCLU, or that
    the innermost call of the vDSO function was given."""
    thread = gdb.selected_thread()
    if thread is None:
        raise gdb.GdbError("No thread selected.")
    for enclave in enclaves():
        for tcs, owner in enclave.threads():
            if owner == thread.ptid[1]:
                return tcs
    if thread_is_at_enclu():
        return newest_frame_register("rbx")
    frame = gdb.newest_frame()
    while frame is not None:
        if frame.name() == "__vdso_sgx_enter_enclave":
            # The only stack argument, struct sgx_enclave_run, begins with the TCS.
            outer = frame.older()
            if outer is not None:
                cfa = int(outer.read_register("rsp")) & 0xFFFFFFFFFFFFFFFF
                return word(word(cfa))
        frame = frame.older()
    raise gdb.GdbError("This thread is in no enclave call that can be seen; name a TCS (\"enclume enclaves\").")


def argument(text, default=None):
    text = text.strip()
    if not text:
        return default
    return int(gdb.parse_and_eval("(unsigned long)({})".format(text))) & 0xFFFFFFFFFFFFFFFF


# ---- Commands ----


class EnclumePrefix(gdb.Command):
    """Enclaves of a program that runs under Enclume."""

    def __init__(self):
        super().__init__("enclume", gdb.COMMAND_USER, prefix=True)


class EnclavesCommand(gdb.Command):
    """List the program's enclaves: base, size, attributes, TCSs and who is inside.
Usage: enclume enclaves"""

    def __init__(self):
        super().__init__("enclume enclaves", gdb.COMMAND_STATUS)

    def invoke(self, argument_text, from_tty):
        found = enclaves()
        if not found:
            gdb.write("No enclaves.\n")
        for enclave in found:
            flags = [name for bit, name in ((1, "initialised"), (2, "debug"), (0x10, "provisioning"))
                     if enclave.attributes & bit]
            gdb.write("{:#x}-{:#x}  {} KiB  {}\n  MRENCLAVE {}\n  MRSIGNER  {}\n".format(
                enclave.base, enclave.base + enclave.size, enclave.size // 1024, " ".join(flags) or "-",
                enclave.mrenclave, enclave.mrsigner))
            for tcs, owner in enclave.threads():
                flags, _, cssa, nssa = struct.unpack("<QQII", enclave.bytes_at(tcs + 8, 24))
                gdb.write("  TCS {:#x}  CSSA {} of {}{}{}\n".format(
                    tcs, cssa, nssa, "  opt-in" if flags & 1 else "",
                    "  thread {} inside".format(owner) if owner else ""))


class SsaCommand(gdb.Command):
    """Show the registers that the newest asynchronous exit saved.
Usage: enclume ssa [TCS]
Without TCS: that of the selected thread's innermost enclave call. Sets $enclume_tcs and $enclume_rip."""

    def __init__(self):
        super().__init__("enclume ssa", gdb.COMMAND_DATA)

    def invoke(self, argument_text, from_tty):
        frame = SsaFrame(argument(argument_text) or tcs_of_thread())
        gdb.set_convenience_variable("enclume_tcs", frame.tcs)
        gdb.set_convenience_variable("enclume_rip", frame.registers["rip"])
        gdb.write("TCS {:#x}, frame {} of {}, AEP {:#x}, after {}\n".format(
            frame.tcs, frame.cssa - 1, frame.nssa, frame.aep, frame.reason()))
        for name in GPRS + ("rip", "eflags", "fs_base", "gs_base"):
            value = frame.registers[name]
            gdb.write("{:<8} {:#018x}{}\n".format(name, value, where(value) if name == "rip" else ""))
        gdb.write("{:<8} {:#018x}\n{:<8} {:#018x}\n".format("ursp", frame.ursp, "urbp", frame.urbp))


class OtherRegisters:
    """Other values in the selected thread's registers for a while."""

    NAMES = GPRS + ("eflags", "fs_base", "gs_base", "orig_rax", "rip")

    def __init__(self, values):
        self.values = values
        self.before = {}

    def __enter__(self):
        frame = gdb.newest_frame()
        self.before = {name: int(frame.read_register(name)) & 0xFFFFFFFFFFFFFFFF for name in self.NAMES}
        self.write(self.values)

    def __exit__(self, *_):
        self.write(self.before)

    def write(self, values):
        for name in self.NAMES:
            if name in values:
                gdb.newest_frame().select()
                execute("set ${} = {:#x}".format(name, values[name]))


class BacktraceCommand(gdb.Command):
    """Backtrace of the selected thread through its innermost enclave call.
Usage: enclume bt
First the frames inside the enclave, then those of the host from the ENCLU on. After an asynchronous exit the
enclave's are those of the newest SSA frame, with the host's handlers before them. "enclume symbols" gives the
enclave's frames their names."""

    def __init__(self):
        super().__init__("enclume bt", gdb.COMMAND_STACK)

    def frames(self, enclave, inside):
        """Frames from the newest on, as long as they are in the enclave (or not)."""
        frame = gdb.newest_frame()
        while frame is not None and enclave.contains(frame.pc()) == inside:
            yield frame
            try:
                frame = frame.older()
            except gdb.error:
                return

    def show(self, frame):
        symbol = frame.function()
        name = symbol.print_name if symbol is not None else frame.name()
        if name is None:
            name = where(frame.pc()).strip(" <>") or "??"
        place = ""
        line = frame.find_sal()
        if line.symtab is not None:
            place = " at {}:{}".format(line.symtab.filename, line.line)
        gdb.write("#{:<3} {:#018x} in {}{}\n".format(self.count, frame.pc(), name, place))
        self.count += 1

    def invoke(self, argument_text, from_tty):
        self.count = 0
        selected = gdb.selected_frame()
        tcs = tcs_of_thread()
        enclave = enclave_at(tcs)
        if enclave.contains(gdb.newest_frame().pc()):
            self.inside(enclave)
            self.entered(enclave, tcs, None)
        else:
            self.outside(enclave, tcs)
        gdb.newest_frame().select()
        if selected.is_valid():
            selected.select()

    def inside(self, enclave):
        for frame in self.frames(enclave, True):
            self.show(frame)

    def entered(self, enclave, tcs, saved):
        """The host's frames from the ENCLU on: RSP and RBP are what EENTER recorded."""
        fields = struct.unpack("<QQQIIQQ", enclave.bytes_at(tcs, 48))
        ossa, cssa, aep = fields[2], fields[3], fields[6]
        if saved is None:
            end = enclave.base + ossa + (cssa + 1) * enclave.frame_pages * PAGE
            ursp, urbp = struct.unpack("<QQ", enclave.bytes_at(end - 184 + 144, 16))
        else:
            ursp, urbp = saved.ursp, saved.urbp
        gdb.write("     --- enclave {:#x}, entered by TCS {:#x}\n".format(enclave.base, tcs))
        with OtherRegisters({"rip": aep, "rsp": ursp, "rbp": urbp, "orig_rax": (1 << 64) - 1}):
            for frame in self.frames(enclave, False):
                self.show(frame)

    def outside(self, enclave, tcs):
        saved = SsaFrame(tcs)
        if saved.cssa > 1:
            gdb.write("     (the newest of {} frames that TCS {:#x} has saved)\n".format(saved.cssa, tcs))
        # What runs on top of the exit: a signal handler, or the caller's own for enclave exits.
        frame = gdb.newest_frame()
        above = []
        while frame is not None and frame.pc() != saved.aep and frame.name() != "__vdso_sgx_enter_enclave":
            above.append(frame)
            frame = frame.older()
        if frame is not None:
            for handler in above:
                self.show(handler)
        gdb.write("     --- left enclave {:#x} by {}\n".format(enclave.base, saved.reason()))
        values = dict(saved.registers)
        values["orig_rax"] = (1 << 64) - 1
        with OtherRegisters(values):
            self.inside(enclave)
        self.entered(enclave, tcs, saved)


class SymbolsCommand(gdb.Command):
    """Load the symbols of an enclave.
Usage: enclume symbols FILE [BASE]
FILE is the enclave's ELF file, linked at 0; BASE where it is loaded, by default the base of the only enclave."""

    def __init__(self):
        super().__init__("enclume symbols", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)

    def invoke(self, argument_text, from_tty):
        arguments = gdb.string_to_argv(argument_text)
        if len(arguments) not in (1, 2):
            raise gdb.GdbError("Usage: enclume symbols FILE [BASE]")
        if len(arguments) == 2:
            base = argument(arguments[1])
        else:
            found = enclaves()
            if len(found) != 1:
                raise gdb.GdbError("There are {} enclaves: name the base.".format(len(found)))
            base = found[0].base
        quietly("add-symbol-file \"{}\" -o {:#x}".format(arguments[0], base))
        gdb.write("Symbols of {} at {:#x}.\n".format(arguments[0], base))


class OptInCommand(gdb.Command):
    """Let the processor debug inside a debug enclave: TCS.FLAGS.DBGOPTIN, from the next entry on.
Usage: enclume optin TCS [on|off]"""

    def __init__(self):
        super().__init__("enclume optin", gdb.COMMAND_RUNNING)

    def invoke(self, argument_text, from_tty):
        arguments = gdb.string_to_argv(argument_text)
        if len(arguments) not in (1, 2) or (len(arguments) == 2 and arguments[1] not in ("on", "off")):
            raise gdb.GdbError("Usage: enclume optin TCS [on|off]")
        tcs = argument(arguments[0])
        enclave = enclave_at(tcs)
        if not enclave.debug:
            raise gdb.GdbError("The enclave at {:#x} is not a debug enclave.".format(enclave.base))
        flags = struct.unpack("<Q", enclave.bytes_at(tcs + 8, 8))[0] & ~1
        if len(arguments) == 1 or arguments[1] == "on":
            flags |= 1
        write(enclave.place(tcs + 8), struct.pack("<Q", flags))


class SignalsCommand(gdb.Command):
    """What gdb does when the program gets one of the signals that the engine uses too.
Usage: enclume handle SIGNAL KEYWORD...
As "handle", which is not to be used for these: SIGILL, SIGBUS, SIGFPE, SIGSEGV, SIGSYS."""

    def __init__(self):
        super().__init__("enclume handle", gdb.COMMAND_RUNNING)

    def invoke(self, argument_text, from_tty):
        words = argument_text.split()
        if len(words) < 2 or words[0] not in SILENT.values():
            raise gdb.GdbError("Usage: enclume handle {} KEYWORD...".format("|".join(SILENT.values())))
        if signals.quiet:
            signals.show(words[0])
        quietly("handle " + argument_text)
        if signals.quiet:
            signals.wanted[words[0]] = signals.ask(words[0])
            signals.set(words[0], False, False, True)


for kind in (EnclumePrefix, EnclavesCommand, SsaCommand, BacktraceCommand, SymbolsCommand, OptInCommand,
             SignalsCommand):
    kind()

gdb.events.new_objfile.connect(on_new_objfile)
gdb.events.exited.connect(on_exited)
gdb.events.stop.connect(on_stop)
for objfile in gdb.objfiles():
    if objfile.filename is not None and "libenclume-engine.so" in objfile.filename:
        session.found_engine()
