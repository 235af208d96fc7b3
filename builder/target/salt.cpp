#include "target/salt.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/size.hpp"
#include "base/text.hpp"

namespace kiln::target {
namespace {

using nlohmann::json;

constexpr std::string_view dropped = "<not kept: the file is private>";
constexpr std::size_t shown_lines = 15;

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {  // some states give a list of comments
    std::vector<std::string> parts;
    for (const json& part : *found) parts.push_back(part.is_string() ? part.get<std::string>() : part.dump());
    return base::join(parts, "\n");
  }
  return found->dump();
}

double number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return 0;
  if (found->is_number()) return found->get<double>();
  if (!found->is_string()) return 0;
  // Salt 2016 and some modules write "12.3 ms".
  try {
    return std::stod(found->get<std::string>());
  } catch (const std::exception&) {
    return 0;
  }
}

// The value of "local", of which salt-call prints one.
json local_part(const std::string& output) {
  json all = json::parse(output, nullptr, false);
  if (all.is_discarded() || !all.is_object() || !all.contains("local")) {
    throw base::Error("salt-call did not print a result")
        .hint("its messages are in the step's log")
        .detail(base::printable(base::last_lines(output, 30)));
  }
  return std::move(all["local"]);
}

// Calls `each` with the path and the holder of every "diff" in a state's changes: file.managed has it on top
// and its name is the path, file.recurse and others one level down under the path.
template <typename Each>
void for_diffs(const std::string& name, json& changes, const Each& each) {
  if (!changes.is_object()) return;
  if (changes.contains("diff")) each(name, changes);
  for (auto& [path, inner] : changes.items()) {
    if (path.starts_with('/') && inner.is_object() && inner.contains("diff")) each(path, inner);
  }
}

std::vector<std::string> new_packages(const json& changes) {
  std::vector<std::string> result;
  if (!changes.is_object()) return result;
  for (const auto& [name, change] : changes.items()) {
    if (!change.is_object()) continue;
    if (change.contains("new") && text_of(change, "old").empty() && !text_of(change, "new").empty()) {
      result.push_back(name);
    } else if (name == "installed") {  // wrapped when something was also reinstalled or held
      for (std::string& inner : new_packages(change)) result.push_back(std::move(inner));
    }
  }
  return result;
}

// The tag of a state: MODULE_|-ID_|-NAME_|-FUNCTION.
std::string function_of(std::string_view tag) {
  constexpr std::string_view mark = "_|-";
  const std::size_t first = tag.find(mark);
  const std::size_t last = tag.rfind(mark);
  if (first == std::string_view::npos) return std::string(tag);
  return std::string(tag.substr(0, first)) + "." + std::string(tag.substr(last + mark.size()));
}

State read_state(const std::string& tag, const json& from) {
  State state;
  state.function = function_of(tag);
  state.id = text_of(from, "__id__");
  state.name = text_of(from, "name");
  state.sls = text_of(from, "__sls__");
  state.comment = text_of(from, "comment");
  state.seconds = number_of(from, "duration") / 1000;
  const auto result = from.find("result");
  state.failed = result == from.end() || (result->is_boolean() && !result->get<bool>());
  const json changes = from.value("changes", json::object());
  state.changed = !changes.empty();
  if (state.id.empty()) state.id = state.name;
  if (state.function.starts_with("pkg.")) state.installed = new_packages(changes);
  if (state.failed && changes.is_object()) {
    for (const char* stream : {"stdout", "stderr"}) {
      const std::string text = text_of(changes, stream);
      if (!text.empty()) state.output += (state.output.empty() ? "" : "\n") + text;
    }
    state.output = base::last_lines(state.output, shown_lines);
  }
  return state;
}

bool by_requisite(const State& state) {
  return state.comment.starts_with("One or more requisite failed");
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::size_t Highstate::changed() const {
  return static_cast<std::size_t>(
      std::count_if(states.begin(), states.end(), [](const State& s) { return s.changed; }));
}

std::size_t Highstate::failed() const {
  return static_cast<std::size_t>(
      std::count_if(states.begin(), states.end(), [](const State& s) { return s.failed; }));
}

std::vector<std::string> Highstate::installed() const {
  std::vector<std::string> result;
  for (const State& state : states) {
    for (const std::string& name : state.installed) {
      if (std::find(result.begin(), result.end(), name) == result.end()) result.push_back(name);
    }
  }
  return result;
}

std::string Highstate::summary(double seconds) const {
  return fmt::format("{} states, {} changed, {} failed, {}", states.size(), changed(), failed(),
                     base::human_seconds(seconds));
}

std::vector<std::string> diffed_paths(const std::string& output) {
  std::vector<std::string> result;
  json local = local_part(output);
  if (!local.is_object()) return result;
  for (auto& [tag, state] : local.items()) {
    if (!state.is_object() || !state.contains("changes")) continue;
    for_diffs(text_of(state, "name"), state["changes"],
              [&](const std::string& path, json&) { result.push_back(path); });
  }
  return result;
}

Highstate read_highstate(const std::string& output,
                         const std::function<bool(const std::string&)>& is_private) {
  Highstate result;
  json local = local_part(output);
  if (local.is_string()) local = json::array({local});
  if (local.is_array()) {
    for (const json& problem : local) {
      result.problems.push_back(problem.is_string() ? problem.get<std::string>() : problem.dump());
    }
    result.json = json{{"problems", result.problems}, {"states", json::array()}}.dump(
        1, ' ', false, json::error_handler_t::replace);
    return result;
  }
  if (!local.is_object())
    throw base::Error("salt-call printed no states").detail(base::printable(local.dump()));

  std::vector<std::pair<double, std::string>> order;
  for (const auto& [tag, state] : local.items()) {
    if (!state.is_object()) {
      throw base::Error(
          fmt::format("salt-call printed something else than states: '{}'", base::printable(tag)))
          .detail(base::printable(state.dump()));
    }
    order.emplace_back(number_of(state, "__run_num__"), tag);
  }
  std::sort(order.begin(), order.end());
  json kept = json::array();
  for (const auto& [number, tag] : order) {
    json& from = local[tag];
    result.states.push_back(read_state(tag, from));
    const State& state = result.states.back();
    json changes = from.value("changes", json::object());
    for_diffs(state.name, changes, [&](const std::string& path, json& holder) {
      if (is_private(path)) holder["diff"] = dropped;
    });
    kept.push_back({{"id", state.id},
                    {"function", state.function},
                    {"name", state.name},
                    {"sls", state.sls},
                    {"result", from.value("result", json())},
                    {"comment", state.comment},
                    {"seconds", std::round(state.seconds * 1000) / 1000},
                    {"changes", std::move(changes)}});
  }
  result.json = json{{"states", std::move(kept)}}.dump(1, ' ', false, json::error_handler_t::replace);
  return result;
}

base::Error failure(const Highstate& highstate,
                    const std::function<std::string(const std::string&)>& file_of) {
  if (!highstate.problems.empty()) {
    // "Pillar failed to render with the following messages:" alone says nothing.
    std::string first = first_line(highstate.problems.front());
    if (first.ends_with(':') && highstate.problems.size() > 1)
      first += " " + first_line(highstate.problems[1]);
    return base::Error(fmt::format("Salt could not render the states: {}", base::printable(first)))
        .hint("mend the state or pillar file that it names, and build again")
        .detail(base::printable(base::join(highstate.problems, "\n")));
  }
  // What failed only because something it requires did is listed, but is never the cause.
  const State* cause = nullptr;
  std::string all;
  for (const State& state : highstate.states) {
    if (!state.failed) continue;
    if (cause == nullptr || (by_requisite(*cause) && !by_requisite(state))) cause = &state;
    all += fmt::format("{}{} ({}, {}): {}", all.empty() ? "" : "\n", state.id, state.function,
                       file_of(state.sls), by_requisite(state) ? first_line(state.comment) : state.comment);
    if (!state.output.empty()) all += "\n" + state.output;
  }
  if (cause == nullptr)
    return base::Error("salt-call failed, though no state did").hint("its messages are in the step's log");
  return base::Error(fmt::format("{}: the state '{}' ({}) failed: {}", file_of(cause->sls), cause->id,
                                 cause->function, base::printable(first_line(cause->comment))))
      .hint("mend it and build again; all results are in salt.json")
      .detail(base::printable(all));
}

std::string minion_config(const std::string& id, const std::string& states, const std::string& pillar) {
  // Looking up the machine's full names in DNS and its graphics cards takes seconds at each start. To find
  // that no module has a function it asks for, such as pkg.ex_mod_init, Salt would load all its 500 modules:
  // a third of its own time in a highstate.
  return fmt::format(
      "# Written by kiln: Salt without a master. `salt-call --local state.highstate` applies the states "
      "below.\n"
      "file_client: local\n"
      "id: {}\n"
      "file_roots:\n"
      "  base:\n"
      "    - {}\n"
      "pillar_roots:\n"
      "  base:\n"
      "    - {}\n"
      "enable_fqdns_grains: false\n"
      "enable_gpu_grains: false\n"
      "metadata_server_grains: false\n"
      "# a module's file name contains the name its functions are called by, as all of Salt's own do\n"
      "lazy_loader_strict_matching: true\n",
      id, states, pillar);
}

std::string_view log_filter() {
  return R"(import array, os, socket, subprocess, sys

def handed_over(write_end):
    """Who runs the command, if import_ahead() left somebody."""
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        waiting.connect("\0kiln-salt-call")
        fds = array.array("i", [0, 1, write_end])
        waiting.sendmsg(["\0".join(sys.argv[1:]).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    except OSError:
        waiting.close()
        return None
    return waiting

read_end, write_end = os.pipe()
other = handed_over(write_end) if os.path.basename(sys.argv[1]) == "salt-call" else None
if other:
    sys.stderr.write("[INFO    ] run by a Salt that was imported ahead\n")
child = None if other else subprocess.Popen(sys.argv[1:], stderr=write_end)
os.close(write_end)
drop = False
with os.fdopen(read_end, "rb") as log:
    for line in log:
        if line[:1] == b"[" and b"]" in line[:12]:
            drop = line.split(b"]", 1)[1].strip().startswith((b"{", b"File changed"))
        if not drop:
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
status = int(other.recv(20) or b"-9") if other else child.wait()
sys.exit(status if status >= 0 else 128 - status)
)";
}

std::string_view import_ahead() {
  return R"(import array, os, select, signal, socket, struct, sys
import salt.scripts
import salt.cli.call, salt.cli.caller, salt.minion, salt.state  # what salt-call imports first of all
for name in ("salt.runner", "salt.wheel", "salt.client.ssh.client", "salt.modules.cmdmod", "salt.utils.dns",
             "salt.utils.pkg.deb", "salt.utils.systemd", "dbus", "aptsources.sourceslist"):  # and what states do later
    try:
        __import__(name)
    except ImportError:
        pass

server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.bind("\0kiln-salt-call")
server.listen(1)
if os.fork():
    os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for fd in (0, 1, 2):
    os.dup2(null, fd)

peer, _ = server.accept()
server.close()
uid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
fds = array.array("i", [0, 0, 0])
text, extra, _, _ = peer.recvmsg(1 << 16, socket.CMSG_SPACE(12))
if uid != 0 or not extra:
    os._exit(1)
fds = array.array("i", extra[0][2][:12])
pid = os.fork()
if pid == 0:
    os.setsid()
    peer.close()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.argv = text.decode().split("\0")
    salt.scripts.salt_call()
    sys.exit(0)
for fd in fds:
    os.close(fd)
ended, status = 0, 0
while not ended:
    # readable is a peer that went away: nobody waits for the command any more
    if select.select([peer], [], [], 0.2)[0]:
        os.killpg(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, 0)
    else:
        ended, status = os.waitpid(pid, os.WNOHANG)
peer.send(str(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)).encode())
)";
}

void SaltLog::one(std::string_view line) {
  // "[INFO    ] message", or the further lines of the message before.
  const std::size_t close = line.find(']');
  if (line.starts_with('[') && close != std::string_view::npos && close <= 12) {
    const std::string_view level = base::trim(line.substr(1, close - 1));
    const std::string_view message = base::trim(line.substr(close + 1));
    // The changes of a state, its diff among them, come as one message, of whatever level.
    if (message.starts_with('{') || message.starts_with("File changed")) {
      keep_ = false;
      bad_ = false;
      return;
    }
    bad_ = level == "CRITICAL";
    keep_ = bad_ || level == "ERROR" || level == "WARNING";  // for the lines that follow
    tell(message);
    keep(line);
  } else if (keep_) {
    keep(line);
  }
}

void SaltLog::tell(std::string_view message) {
  constexpr std::string_view executing = "Executing state ";
  constexpr std::string_view target = " for [";
  if (!message.starts_with(executing)) return;
  message.remove_prefix(executing.size());
  const std::size_t open = message.find(target);
  std::string what(message.substr(0, open));
  if (open != std::string_view::npos && message.ends_with(']')) {
    const std::string_view name = message.substr(open + target.size());
    what += " " + std::string(name.substr(0, name.size() - 1));
  }
  doing_(base::printable(what));
}

void SaltLog::keep(std::string_view line) {
  constexpr std::size_t most = 40;
  if (line.starts_with("Traceback ")) bad_ = false;  // of Salt itself, which tells people nothing
  if (bad_ && errors_.size() < most) errors_.emplace_back(line);
  line_(line);
}

}  // namespace kiln::target
