// `kiln boot IMAGE --shell` and `-- COMMAND`: a look inside. Nothing is put into the image for it: the key is
// the proof's, and goes with the throw-away copy.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/scope_exit.hpp"
#include "base/text.hpp"
#include "cache/store.hpp"
#include "cli/verbs.hpp"
#include "engine/engine.hpp"
#include "engine/kept_boot.hpp"
#include "engine/machines.hpp"
#include "engine/proof_spec.hpp"
#include "engine/tools.hpp"
#include "host/terminal.hpp"
#include "proof/verdict.hpp"

namespace kiln::cli {

namespace {

// As exec wants it; good as long as `texts` is.
std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> words;
  words.reserve(texts.size() + 1);
  for (const std::string& text : texts) words.push_back(const_cast<char*>(text.c_str()));
  words.push_back(nullptr);
  return words;
}

int run_on_terminal(const std::vector<std::string>& argv, char* const* environment, bool results) {
  const auto words = pointers(argv);

  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  const base::ScopeExit drop([&] { ::posix_spawnattr_destroy(&attributes); });
  sigset_t plain;
  ::sigemptyset(&plain);
  ::sigaddset(&plain, SIGPIPE);  // kiln ignores it, and a program inherits that
  ::posix_spawnattr_setsigdefault(&attributes, &plain);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  const base::ScopeExit drop_files([&] { ::posix_spawn_file_actions_destroy(&files); });
  if (!results) ::posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  pid_t pid = 0;
  if (const int code = ::posix_spawnp(&pid, words.front(), &files, &attributes, words.data(), environment);
      code != 0) {
    throw base::Error(fmt::format("cannot run '{}': {}", argv.front(), std::strerror(code)),
                      base::Exit::missing)
        .hint("install it; `kiln doctor` lists what is missing");
  }
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    // A ^C at the terminal reaches the program as well, which knows what to do about it.
    if (host::pending_signal() == SIGTERM || host::pending_signal() == SIGHUP) ::kill(pid, SIGTERM);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  host::check_interrupt();
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int hand_over(const std::vector<std::string>& argv) {
  return run_on_terminal(argv, environ, true);
}

int hand_over_terminal(const host::Command& command) {
  std::vector<std::string> variables;
  if (!command.clear_env)
    for (char* const* one = environ; *one != nullptr; ++one) {
      const std::string text = *one;
      if (!command.env.contains(text.substr(0, text.find('=')))) variables.push_back(text);
    }
  for (const auto& [name, value] : command.env)
    if (value) variables.push_back(fmt::format("{}={}", name, *value));
  const host::TerminalState state(STDIN_FILENO);
  return run_on_terminal(command.argv, pointers(variables).data(), false);
}

void offer_shell(const Invocation& call, stage::Observer& observer, const base::Error& failure,
                 image::System* open) {
  // It is told at the end as well; whoever looks around has to know it now.
  call.err << "error: " << base::printable(failure.what()) << '\n';
  if (open == nullptr) {
    observer.note("there is no shell to open: no guest or sandbox was open when the step failed");
    return;
  }
  observer.note(fmt::format(
      "a shell of root in the {} of the failed step; the build ends with it, and nothing done in it stays",
      open->booted() ? "guest" : "sandbox"));
  call.out.flush();
  call.err.flush();
  image::Terminal terminal;
  terminal.in = STDIN_FILENO;
  terminal.out = STDERR_FILENO;
  terminal.type = call.host.env("TERM").value_or("dumb");
  struct winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
    terminal.rows = size.ws_row;
    terminal.columns = size.ws_col;
  }
  terminal.hand_over = [](const host::Command& command) { return hand_over_terminal(command); };
  try {
    open->shell(terminal);
  } catch (const base::Error& error) {
    host::check_interrupt();
    observer.warn(fmt::format("the shell is lost: {}", error.what()));
    return;
  }
  observer.note("the shell has ended, and with it the build");
}

int shell(const Invocation& call, const ShellImage& image, const profile::Proof& proof,
          stage::Observer& observer) {
  const host::Host host = engine::limited(call.host, call.timeout);
  cache::Store store(host, call.store);
  const auto machines = engine::real_machines(host, store.root() / "machine");
  const auto accel = machines->choose_accel(call.accel, {});
  observer.note(accel.why);
  const auto entry = store.scratch();

  proof::BootOptions options;
  options.image = image.file;
  options.layer = image.layer;
  options.user_data = image.user_data;
  options.proof.memory = proof.memory;
  options.proof.cpus = proof.cpus;
  options.firmware = proof.firmware.empty() ? profile::Firmware::bios : proof.firmware.front();
  options.accel = accel.accel;
  options.limits = image::limits_for(accel.accel);
  if (call.timeout.count() > 0) options.limits.boot = call.timeout;
  options.scratch = entry.folder() / "shell";
  options.console = entry.folder() / "console.log";
  options.screen = entry.folder() / "screen.png";
  options.on_doing = [&](std::string_view what) { observer.doing(what); };
  const double begun = call.host.elapsed();
  const auto booted = [&](stage::Observer::How how) {
    observer.step_ends("boot", how, std::max(0.0, call.host.elapsed() - begun), "");
  };
  observer.step_begins(
      "boot", fmt::format("{} {}", call.resume ? "Resuming" : "Booting", image.file.filename().string()));
  int status = 0;
  const auto look = [&](const proof::BootOptions& with) {
    status = machines->shell(
        with,
        [&](const std::vector<std::string>& argv) {
          booted(stage::Observer::How::done);
          if (call.command.empty())
            observer.note("a shell of root; what is written is gone when it ends");
          else if (call.resume)
            observer.note("in a guest resumed from saved memory");
          call.out.flush();
          return hand_over(argv);
        },
        call.command);
  };
  try {
    if (call.resume)
      engine::with_kept_boot(call.host, store, *machines, options, image.sha256, observer, look);
    else
      look(options);
  } catch (const base::Error& error) {
    if (error.exit() == base::Exit::failed) booted(stage::Observer::How::failed);
    throw;
  }
  if (status == 0) return 0;
  observer.warn(call.command.empty()
                    ? fmt::format("the shell ended with status {}", status)
                    : fmt::format("'{}' ended with status {}{}", base::shell_line(call.command), status,
                                  status == 255 ? ", which is also ssh's when the guest is lost" : ""));
  return static_cast<int>(base::Exit::failed);
}

int shell(const Invocation& call) {
  return with_progress(call, [&](stage::Observer& observer) {
    const StepImage at = image_of_step(call, call.arguments.at(0), "shell");
    engine::require_tools(call.host, proof::tools());
    return shell(call, {at.image, "", "", true}, at.proof, observer);
  });
}

}  // namespace kiln::cli
