#include "cli/app.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <utility>

#include "base/report.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "cli/verbs.hpp"
#include "engine/publish.hpp"
#include "host/program_folder.hpp"

namespace kiln::cli {

using base::Error;
using base::Exit;

namespace {

struct Verb {
  const char* name;
  const char* summary;
  const char* examples;
  int (*run)(const Invocation& call);
};

constexpr const char* kCheckExamples =
    "Example:\n"
    "  kiln check profiles/*.yml\n"
    "\n"
    "Tells every mistake of every profile, each with file, line and column. Looks at local files only.";
constexpr const char* kPlanExamples =
    "Example:\n"
    "  kiln plan ecs-bookworm\n"
    "  kiln plan --until packages --json ./dev.yml\n"
    "  kiln plan --from salt_highstate ecs-bookworm\n"
    "  kiln plan --online ecs-bookworm\n"
    "\n"
    "Tells for each step whether the store has its result (hit) or why it has to be run (miss). With "
    "--online\n"
    "also, for a hit that came from mirrors, whether what they serve has moved since; a mirror that does "
    "not\n"
    "answer is told and no error.";
constexpr const char* kExplainExamples =
    "Example:\n"
    "  kiln explain ecs-bookworm packages\n"
    "\n"
    "Tells why a step has to be run: the difference between what its key is made of and what it was made of\n"
    "in the last build, and which steps below it are missing.";
constexpr const char* kBuildExamples =
    "Example:\n"
    "  kiln build ecs-bookworm\n"
    "  kiln build --output /srv/images --accel tcg ./dev.yml\n"
    "  kiln build --from salt_highstate ecs-bookworm\n"
    "  kiln build --offline ecs-bookworm\n"
    "  kiln build --on-error shell ./dev.yml\n"
    "\n"
    "Runs what the store lacks, boots the exported file, and publishes it when it is proven: PROFILE.qcow2,\n"
    "image.json, junit.xml, console.log, screen.png and report.html in ./out/PROFILE.";
constexpr const char* kBootExamples =
    "Example:\n"
    "  kiln boot out/minimal/minimal.qcow2 --profile minimal\n"
    "  kiln boot --firmware uefi out/ecs-bookworm/ecs-bookworm.qcow2 --profile ecs-bookworm\n"
    "  kiln boot out/minimal/minimal.qcow2 --shell\n"
    "  echo 'systemctl --failed' | kiln boot out/minimal/minimal.qcow2 --shell\n"
    "  kiln boot --settled out/minimal/minimal.qcow2 -- systemctl is-active ssh\n"
    "  kiln boot --env env-cidata.iso out/ecs-bookworm/ecs-bookworm.qcow2 --shell\n"
    "\n"
    "Boots a throw-away copy and runs the checks of the profile; the image itself is not written to. With\n"
    "--shell it gives a shell of root in that copy instead, on the terminal or with commands from standard\n"
    "input; status 1 when the shell's last command failed. What is behind -- is run in it by root, with "
    "kiln's\n"
    "own standard input and output; status 1 when it failed.\n"
    "\n"
    "With --env the copy is given an environment as user-data, as a drive labelled cidata would give it.\n"
    "\n"
    "With --settled the copy is booted once, kept in the store as it is when it has settled, memory and "
    "disk,\n"
    "and resumed from then on: a test pays seconds, and each finds the same machine. Such a run is no proof.";
constexpr const char* kShellExamples =
    "Example:\n"
    "  kiln shell ecs-bookworm@packages\n"
    "  echo 'systemctl --failed' | kiln shell ecs-bookworm@salt_highstate\n"
    "\n"
    "Boots a throw-away copy of what a step left in the store and gives a shell of root in it, on the "
    "terminal or\n"
    "with commands from standard input; status 1 when the shell's last command failed.";
constexpr const char* kCacheExamples =
    "Example:\n"
    "  kiln cache ls\n"
    "  kiln cache gc --max-size 10G\n"
    "  kiln cache verify\n"
    "  qemu-img info $(kiln cache path minimal@seal)\n"
    "\n"
    "ls      lists layers and exports, each below the layer it stands on, and what all of it takes.\n"
    "gc      removes what nobody can find any more, then what was used longest ago, until no more than\n"
    "        --max-size is left; 0 empties the store. Not while another kiln has the store open: status 1.\n"
    "verify  reads every byte of layers, exports and blobs. What is damaged is told and set aside, and the\n"
    "        next build makes it again; status 1 when there was any.\n"
    "path    where the store is; the image of the layer with an id that begins so; or of the layer that a\n"
    "        step of a profile would take from the store now, status 1 when it has none.";
constexpr const char* kStagesExamples =
    "Example:\n"
    "  kiln stages\n"
    "  kiln stages salt_highstate";
constexpr const char* kDoctorExamples =
    "Example:\n"
    "  kiln doctor\n"
    "\n"
    "Looks at the tools, the store and the acceleration of this host, and says what to do about what is "
    "missing.";
constexpr const char* kTopExamples =
    "Example:\n"
    "  kiln plan ecs-bookworm\n"
    "  kiln build ecs-bookworm\n"
    "  kiln build --help\n"
    "\n"
    "Exit status: 0 done, 1 a build or boot failed, 2 a bad profile or command line, 3 a tool or capability "
    "of the\n"
    "host is missing, 130 and 143 after SIGINT and SIGTERM.";

constexpr Verb kVerbs[] = {
    {"check", "Reads profiles and tells all their mistakes", kCheckExamples, &check},
    {"plan", "Shows the steps of a profile, and which of them have to run", kPlanExamples, &plan},
    {"explain", "Tells why a step has to be run", kExplainExamples, &explain},
    {"build", "Builds profiles, boots and proves the result, publishes it", kBuildExamples, &build},
    {"boot", "Boots an image and runs the checks of a profile", kBootExamples, &boot},
    {"shell", "Looks inside what a step left", kShellExamples, &shell},
    {"cache", "Lists, trims and verifies the store of layers", kCacheExamples, &cache},
    {"stages", "Lists the stages, or explains one", kStagesExamples, &stages},
    {"env", "Makes, checks and reads the file that configures an appliance", "", &env},
    {"doctor", "Looks at what this host can do", kDoctorExamples, &doctor},
};

// What CLI11 stores into; turned into an Invocation once all of it was checked.
struct Raw {
  std::string store, output, until, from, accel = "auto", events, on_error, timeout, profile, firmware, env,
                                          action, max_size;
  std::size_t jobs = 0;
  bool json = false, quiet = false, no_boot = false, rootless = false, no_cache = false, cold_boot = false,
       offline = false, online = false, settled = false, shell = false, schema = false, markdown = false;
  std::vector<std::string> arguments;
  std::vector<std::string> command;  // behind "--"
  bool commanded = false;
};

Error usage(std::string message) {
  return Error(std::move(message), Exit::usage);
}

std::string guess_text(const std::string& guess) {
  return guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess);
}

void one_of(std::string_view option, const std::string& value, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  throw usage(fmt::format("{}: unknown '{}'{}", option, value, guess_text(base::did_you_mean(value, known))))
      .hint("known are " + base::join(known, ", "));
}

// "90", "90s", "15m", "2h".
std::chrono::seconds seconds(const std::string& text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, value);
  const std::map<std::string_view, std::int64_t> units = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
  const auto unit = units.find(std::string_view(stopped, static_cast<std::size_t>(end - stopped)));
  constexpr std::int64_t kMost = 604'800;  // a week
  if (code != std::errc() || unit == units.end() || value < 1 || value > kMost / unit->second) {
    throw usage(fmt::format("--timeout: expected a time such as 90s, 15m or 2h, got '{}'", text));
  }
  return std::chrono::seconds(value * unit->second);
}

std::filesystem::path default_store(const host::Host& host) {
  if (host.root) return "/var/cache/kiln";
  const auto cache = host.env("XDG_CACHE_HOME");
  if (cache && std::filesystem::path(*cache).is_absolute()) return std::filesystem::path(*cache) / "kiln";
  const auto home = host.env("HOME");
  if (home && std::filesystem::path(*home).is_absolute())
    return std::filesystem::path(*home) / ".cache" / "kiln";
  throw usage("no place for the store: neither XDG_CACHE_HOME nor HOME is set").hint("say --store DIRECTORY");
}

std::uint64_t bytes(const std::string& text) {
  const auto size = base::parse_size(text);
  if (!size) throw usage(fmt::format("--max-size: expected a size such as 20G or 512M, got '{}'", text));
  return *size;
}

// <prefix>/share/kiln of an installed kiln; one in a build folder has none.
std::filesystem::path share_folder() {
  std::error_code code;
  const std::filesystem::path folder = host::program_folder();
  if (folder.empty()) return {};
  std::filesystem::path share = folder.parent_path() / "share" / "kiln";
  return std::filesystem::is_directory(share, code) ? share : std::filesystem::path();
}

void add_options(CLI::App& verb, std::string_view name, Raw& raw) {
  const auto on = [&](std::initializer_list<std::string_view> verbs) {
    return std::find(verbs.begin(), verbs.end(), name) != verbs.end();
  };
  const auto value = [&](const char* option, std::string& into, const char* type, const char* help) {
    // CLI11 takes the next word for the value, whatever it is: `--store --no-boot` would make a folder of
    // that name, and `--store "$UNSET"` mean the default.
    verb.add_option(option, into, help)->type_name(type)->check([](const std::string& word) {
      if (word.empty()) return std::string("is given without a value");
      if (word.starts_with("--")) return fmt::format("needs a value, got the option '{}'", word);
      return std::string();
    });
  };
  if (on({"check", "plan", "build"})) {
    verb.add_option("PROFILE", raw.arguments,
                    "a path, or a name below ./profiles or <prefix>/share/kiln/profiles")
        ->required()
        ->type_name("");
  }
  if (on({"explain"})) {
    verb.add_option("PROFILE STEP", raw.arguments, "as for plan, and one of its steps")
        ->required()
        ->expected(2)
        ->type_name("");
  }
  if (on({"boot"})) {
    verb.add_option("IMAGE", raw.arguments, "the disk image to boot")->required()->expected(1)->type_name("");
    value("--profile", raw.profile, "PROFILE",
          "whose checks are run; default those of image.json beside the image");
    value("--firmware", raw.firmware, "bios|uefi", "instead of what the profile says");
    value("--env", raw.env, "FILE",
          "an environment that the image is given, or the seed disk of one (.iso); its own checks are mostly "
          "those of a machine without, so give --shell, -- COMMAND or --profile");
    verb.add_flag("--shell", raw.shell, "look inside: a shell of root instead of the checks");
    verb.add_flag(
        "--settled", raw.settled,
        "resume a guest of the image that has settled; it is booted and kept first when there is none");
  }
  if (on({"cache"})) {
    verb.add_option("ACTION", raw.action, "ls, gc, verify or path")->required()->type_name("");
    verb.add_option("ID|PROFILE@STEP", raw.arguments, "path: whose image")->expected(0, 1)->type_name("");
  }
  if (on({"shell"})) {
    verb.add_option("PROFILE@STEP", raw.arguments, "a profile, as for plan, and one of its steps")
        ->required()
        ->expected(1)
        ->type_name("");
  }
  if (on({"stages"})) {
    verb.add_option("NAME", raw.arguments, "the stage to explain")->expected(0, 1)->type_name("");
    verb.add_flag("--schema", raw.schema, "print the JSON Schema of profiles");
    verb.add_flag("--markdown", raw.markdown, "print the table as Markdown");
  }
  if (on({"plan", "explain", "build", "boot", "shell", "cache", "doctor"})) {
    value("--store", raw.store, "DIR",
          "where layers are kept; default ~/.cache/kiln, for root /var/cache/kiln");
  }
  if (on({"build"})) value("--output", raw.output, "DIR", "where results go; default ./out/PROFILE");
  if (on({"boot"})) value("--output", raw.output, "DIR", "where reports go; default ./out/boot-IMAGE");
  if (on({"build", "boot", "shell"})) {
    value("--events", raw.events, "FILE", "write progress to it, one JSON object a line");
    value("--timeout", raw.timeout, "TIME", "limit of a step or boot, such as 90s, 15m or 2h");
  }
  if (on({"plan", "build"})) {
    value("--until", raw.until, "STEP", "stop behind this step");
    value("--from", raw.from, "STEP", "run this step and all behind it again, whatever the store has");
    verb.add_flag("--no-cache", raw.no_cache, "run all steps again; downloads are kept");
  }
  if (on({"plan"}))
    verb.add_flag("--online", raw.online, "ask the mirrors what has moved since the layers were made");
  if (on({"build", "cache"})) {
    value("--max-size", raw.max_size, "SIZE",
          "trim the store to it, such as 10G; default the lesser of 20 GiB and a quarter of the file system");
  }
  if (on({"build", "boot", "shell", "doctor"})) {
    value("--accel", raw.accel, "auto|kvm|tcg", "auto takes KVM when it is proven to run a kernel");
  }
  if (on({"build"})) {
    verb.add_option("--jobs", raw.jobs,
                    "profiles built at once, or exports of a single one; default one for every two cores, as "
                    "memory allows")
        ->type_name("N")
        ->check(CLI::Range(1, 64));
    value("--on-error", raw.on_error, "shell",
          "when a step fails, open a shell in its guest or sandbox; needs a terminal");
    verb.add_flag("--cold-boot", raw.cold_boot,
                  "boot every build guest, although one that has settled is kept");
    verb.add_flag("--offline", raw.offline, "fetch nothing; what the store lacks of downloads is an error");
    verb.add_flag("--no-boot", raw.no_boot, "publish without a proof; image.json says so");
    verb.add_flag("--rootless", raw.rootless,
                  "mount nothing and enter no sandbox, also as root, but for composing a base");
  }
  verb.add_flag("--json", raw.json, "one JSON object on stdout");
  verb.add_flag("--quiet", raw.quiet, "no progress, only results and errors");
}

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : kVerbs) names.emplace_back(verb.name);
  return names;
}

const Verb& find_verb(const std::string& name) {
  for (const Verb& verb : kVerbs) {
    if (name == verb.name) return verb;
  }
  const std::vector<std::string> names = verb_names();
  throw usage(fmt::format("unknown verb '{}'{}", name, guess_text(base::did_you_mean(name, names))))
      .hint("known are " + base::join(names, ", "));
}

// Long options of a verb, as written on the command line.
std::vector<std::string> option_names(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// CLI11's own words do for values that are missing; for what it does not know a guess says more. An option it
// does not know goes before a word that is missing: `--prifile p.yml` is both.
Error translated(const CLI::ParseError& error, const CLI::App& verb) {
  const bool top = verb.get_name() == "kiln";
  const std::string see = top ? "see kiln --help" : fmt::format("see kiln {} --help", verb.get_name());
  std::vector<std::string> extras = verb.remaining();
  const bool words = !extras.empty() && extras.front() == "--";  // no options follow
  if (words) extras.erase(extras.begin());
  if (!extras.empty() && !words && extras.front().starts_with('-')) {
    const std::string word = extras.front().substr(0, extras.front().find('='));
    return usage(fmt::format("unknown option '{}'{}", word,
                             guess_text(base::did_you_mean(word, option_names(verb)))))
        .hint(see);
  }
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extras.empty())
    return usage(fmt::format("'{}' is one word too many", extras.front())).hint(see);
  return usage(error.what()).hint(see);
}

// Parses, runs one verb. Help and version go to `out`.
int dispatch(const std::string& program, std::vector<std::string> words, const host::Host& host,
             const stage::StageSet& stages, std::ostream& out, std::ostream& err, std::string& finished) {
  Raw raw;
  CLI::App app("kiln bakes a profile into a bootable disk image and proves that it boots.", "kiln");
  app.set_version_flag("--version", std::string("kiln " KILN_VERSION));
  app.footer(kTopExamples);
  std::map<std::string, CLI::App*> parsers;
  for (const Verb& verb : kVerbs) {
    CLI::App* parser = app.add_subcommand(verb.name, verb.summary);
    parser->footer(verb.examples);
    add_options(*parser, verb.name, raw);
    parsers.emplace(verb.name, parser);
  }
  if (!words.empty() && words.front() == "help") {  // as other programs have it: `kiln help build`
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (words.empty()) {
    err << app.help();
    throw usage("no verb").hint("known are " + base::join(verb_names(), ", "));
  }
  Invocation call(host, stages, out, err, finished);
  call.program = program;
  // Its verbs and their options are those of kiln-env, which parses them.
  if (words.front() == "env") {
    call.arguments.assign(words.begin() + 1, words.end());
    return env(call);
  }
  // What is behind -- is another program's, whatever it looks like.
  if (const auto mark = std::find(words.begin(), words.end(), "--");
      words.front() == "boot" && mark != words.end()) {
    raw.commanded = true;
    raw.command.assign(mark + 1, words.end());
    words.erase(mark, words.end());
  }
  const bool top = words.front().starts_with('-');
  const Verb* verb = top ? nullptr : &find_verb(words.front());
  CLI::App& parser = top ? app : *parsers.at(words.front());
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend() - (top ? 0 : 1));
    parser.parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    out << parser.help(top ? "" : "kiln");
    return 0;
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << '\n';
    return 0;
  } catch (const CLI::ParseError& error) {
    throw translated(error, parser);
  }
  if (verb == nullptr) throw usage("no verb").hint("known are " + base::join(verb_names(), ", "));

  one_of("--accel", raw.accel, {"auto", "kvm", "tcg"});
  if (!raw.firmware.empty()) one_of("--firmware", raw.firmware, {"bios", "uefi"});
  if (raw.settled && !raw.env.empty())
    throw usage("--settled resumes a guest that has booted, and --env is for one that boots")
        .hint("leave out one of them");
  if (raw.commanded && raw.command.empty())
    throw usage("there is no command behind --").hint("such as: -- id");
  if (raw.commanded && raw.shell)
    throw usage("--shell gives a shell, and -- runs a command").hint("leave out one of them");
  const bool shell = raw.shell || verb->name == std::string_view("shell");
  if ((shell || raw.commanded) && (raw.json || !raw.output.empty()))
    throw usage(fmt::format("{} gives no results of kiln's own", shell ? "a shell" : "a command"))
        .hint("leave out --json and --output");
  if (!raw.on_error.empty()) {
    one_of("--on-error", raw.on_error, {"shell"});
    if (!host.terminal.input_is_tty || !host.terminal.is_tty)
      throw usage(fmt::format("--on-error shell needs a terminal, and standard {} is none",
                              host.terminal.input_is_tty ? "error" : "input"))
          .hint("run it in one, or leave it out: what explains a failure is kept anyway");
    if (raw.jobs > 1) throw usage("--on-error shell builds one profile at a time").hint("leave out --jobs");
  }
  if (raw.no_cache && !raw.from.empty())
    throw usage("--no-cache runs all steps and --from some").hint("leave out one of them");
  const bool needs_store = parser.get_option_no_throw("--store") != nullptr;
  if (needs_store)
    call.store = raw.store.empty() ? default_store(host) : std::filesystem::absolute(raw.store);
  call.store_given = !raw.store.empty();
  call.output = raw.output;
  call.until = raw.until;
  call.from = raw.from;
  call.no_cache = raw.no_cache;
  call.accel = raw.accel == "kvm"   ? image::Wish::kvm
               : raw.accel == "tcg" ? image::Wish::tcg
                                    : image::Wish::automatic;
  call.json = raw.json;
  call.events = raw.events;
  if (!raw.timeout.empty()) call.timeout = seconds(raw.timeout);
  call.quiet = raw.quiet;
  call.boot = !raw.no_boot;
  call.offline = raw.offline;
  call.jobs = raw.jobs;
  call.online = raw.online;
  call.on_error_shell = !raw.on_error.empty();
  call.settled = !raw.cold_boot;
  call.native = !raw.rootless;
  call.version = KILN_VERSION;
  call.share = share_folder();
  call.arguments = std::move(raw.arguments);
  call.profile = raw.profile;
  call.firmware = raw.firmware;
  call.env = raw.env;
  call.command = std::move(raw.command);
  call.resume = raw.settled;
  call.shell = raw.shell;
  call.action = raw.action;
  if (!raw.max_size.empty()) call.max_size = bytes(raw.max_size);
  call.schema = raw.schema;
  call.markdown = raw.markdown;
  return verb->run(call);
}

// How the user called kiln: a path as it is, else the name that is looked for in PATH.
std::string program_of(int argc, const char* const* argv) {
  const std::string called = argc > 0 ? argv[0] : "";
  return called.find('/') == std::string::npos ? "kiln" : called;
}

// What std::filesystem could not do, as an error of the place it was done at.
Error told(const std::filesystem::filesystem_error& failure) {
  // Of two paths the second is the one that is written.
  const std::filesystem::path& place = failure.path2().empty() ? failure.path1() : failure.path2();
  Error error(failure.code().message());
  error.at({place.string(), 0, 0});
  if (failure.code() == std::errc::no_space_on_device && !place.empty()) {
    error = Error(fmt::format("the file system at {} is full", engine::mount_point(place).string()));
    error.at({place.string(), 0, 0}).hint("make room there, or use another store with --store");
  } else if (failure.code() == std::errc::permission_denied ||
             failure.code() == std::errc::operation_not_permitted) {
    error.hint("change its owner or mode, or run as the user it belongs to");
  }
  return error;
}

// What was done before an error, see Invocation.
std::string also(const std::string& finished) {
  return finished.empty() ? "" : fmt::format("{{\"builds\": {}}}", finished);
}

}  // namespace

int run(int argc, const char* const* argv, const host::Host& host, const stage::StageSet& stages,
        std::ostream& out, std::ostream& err) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  const auto own_end = std::find(words.begin(), words.end(), "--");  // a command may have a --json of its own
  const bool json = std::find(words.begin(), own_end, "--json") != own_end;
  std::string finished;
  try {
    host::install_signal_flags();
    return dispatch(program_of(argc, argv), words, host, stages, out, err, finished);
  } catch (const Error& error) {
    return base::report(error, json, also(finished), out, err);
  } catch (const std::filesystem::filesystem_error& error) {
    return base::report(told(error), json, also(finished), out, err);
  } catch (const std::exception& error) {
    const Error wrapped = Error(fmt::format("internal error: {}", error.what()))
                              .hint("this is a bug of kiln; run again with the same input and report both");
    return base::report(wrapped, json, also(finished), out, err);
  }
}

}  // namespace kiln::cli
