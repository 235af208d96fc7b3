#include "env/command_line.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/digest.hpp"
#include "base/report.hpp"
#include "base/text.hpp"
#include "env/check.hpp"
#include "env/create.hpp"
#include "env/flatten.hpp"
#include "env/name.hpp"
#include "env/option.hpp"
#include "env/package.hpp"
#include "env/read.hpp"
#include "env/recover.hpp"
#include "env/scalar.hpp"
#include "env/sources.hpp"
#include "env/template.hpp"
#include "host/atomic_file.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

constexpr std::string_view kFlatyaml = "flatyaml";

struct Invocation {
  Invocation(const host::Host& the_host, std::ostream& results, std::ostream& told)
      : host(the_host), out(results), err(told) {}

  const host::Host& host;
  std::ostream& out;
  std::ostream& err;
  std::string keys, file, file_option;
  std::string active = "/run/active-env.yml";
  FlattenOptions flatten;
  Mailing mailing;
  std::string domain, target, form, extra;
  std::vector<std::string> files;
  bool json = false, schema = false, force = false, show_template = false;
};

struct Verb {
  const char* name;
  const char* summary;
  const char* help;  // behind the options; {} is how the verb is called
  void (*add_options)(CLI::App& parser, Invocation& call);
  int (*run)(const Invocation& call);
};

// What is done now, on a terminal; the line goes with it.
class LiveLine {
 public:
  explicit LiveLine(const Invocation& call) : call_(call) {}
  ~LiveLine() { show(""); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  void show(std::string_view text) const {
    if (!call_.host.terminal.is_tty) return;
    // A line that wraps could not be taken back.
    const auto width = static_cast<std::size_t>(std::max(20, call_.host.terminal.columns - 1));
    call_.err << "\r\x1b[2K" << base::one_line(text, width) << std::flush;
  }

 private:
  const Invocation& call_;
};

// The result of --json; names of files may be no UTF-8.
void print(const Invocation& call, const nlohmann::ordered_json& result) {
  call.out << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

Error usage(std::string message) {
  return Error(std::move(message), Exit::usage);
}

// ---- flatten

constexpr const char* kFlattenHelp = R"help(Example:
  {0} ecs,appliance env.yml
  eval "$({0} --prefix 'export ' appliance env.yml)"
  {0} . < env.yml

Prints the values below KEYS, one a line: {{prefix}}NAME{{assign}}value{{postfix}}. What it prints is safe to
eval, whatever stands in the file.

  names    the keys joined with _ (--combine) in upper case; sorted by the keys as they are written, the
           top keys in the order of KEYS
  lists    KEY_0, KEY_1 ... and KEY_LEN; an empty mapping has no line
  texts    without the white space around them, quoted for a shell where needed
  flags    true or false, also of yes, no, on and off, as cloud-init and Salt read them
  null     an empty value
  numbers  as they are written

A key that is missing, that is no name ([A-Za-z_][A-Za-z0-9_]*), that gives a name the shell or the loader
obeys (PATH, IFS, ENV, LD_*, BASH_*, ...), or two that give the same name are errors on standard error;
they have no line, the others are printed, and the status is 1. A file that is no YAML prints nothing, status 2.
--prefix, --postfix and --assign are printed as they are. Letters at the end of a prefix belong to the name:
with 'export APP_' it is APP_NAME.)help";

void add_flatten(CLI::App& parser, Invocation& call) {
  parser.add_option("KEYS", call.keys, "top keys of the file, commas between them; . for all")
      ->required()
      ->type_name("");
  parser.add_option("FILE", call.file, "the YAML file; standard input when it is left out or -")
      ->type_name("");
  const auto text = [&](const char* name, std::string& into, const char* help) {
    parser.add_option(name, into, help)->type_name("TEXT");
  };
  text("--prefix", call.flatten.prefix, "before each name");
  text("--postfix", call.flatten.postfix, "behind each value");
  text("--combine", call.flatten.combine, "between the keys of a name; default _");
  text("--assign", call.flatten.assign, "between name and value; default =");
  parser.add_option("--file", call.file_option, "FILE by an option; without a value standard input")
      ->expected(0, 1)
      ->type_name("FILE");
}

int flatten_verb(const Invocation& call) {
  if (!call.file.empty() && !call.file_option.empty())
    throw usage("FILE and --file are both given").hint("leave out one of them");
  if (!is_name("_" + call.flatten.combine))
    throw usage(fmt::format("--combine: '{}' can be no part of a name", shown(call.flatten.combine)))
        .hint("letters, digits and '_' can");
  const yaml::Node root = values_of(read_source(call.file.empty() ? call.file_option : call.file));
  Flat flat = flatten(root, call.keys, call.flatten);
  call.out << flat.lines << std::flush;
  if (!flat.errors.empty()) throw base::Errors(std::move(flat.errors));
  return 0;
}

// ---- check

constexpr const char* kCheckHelp = R"help(Example:
  {0} env.yml
  {0} --schema > env.schema.json

Tells every mistake of an environment, each as file:line:column: unknown keys, values of a wrong kind, a
bad domain, key material that is broken, has expired or does not fit, unsafe paths in extra.files, texts
at which Salt fails. No secret is in what it tells. Keys of cloud-init pass as they are. It needs gpg, and
no network. Status 2 when there is a mistake.)help";

void add_check(CLI::App& parser, Invocation& call) {
  parser.add_option("FILE", call.file, "the environment; - for standard input")->type_name("");
  parser.add_flag("--schema", call.schema, "print the JSON Schema of environments");
  parser.add_flag("--json", call.json, "one JSON object on stdout");
}

int check_verb(const Invocation& call) {
  if (call.schema) {
    call.out << schema();
    return 0;
  }
  if (call.file.empty()) throw usage("FILE is missing").hint("give - for standard input");
  const Source source = read_source(call.file);
  std::vector<Error> errors = check(source, call.host);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  if (call.json)
    print(call, {{"ok", true}, {"file", source.name}});
  else
    call.out << base::printable(source.name) << ": ok\n";
  return 0;
}

// ---- create

constexpr const char* kCreateHelp = R"help(Example:
  {0} ecs.example.org env.yml
  {0} --extra ours.yml ecs.example.org env.yml
  {0} --show-template > ours.mustache

Writes TARGET, mode 0600, with fresh secrets: three for the settings of the ECS, an RSA key for DKIM, and
three OpenPGP secret keys (ecs_backup, ecs_mediaserver, ecs_authority). Prints the records to publish in the
DNS, which are comments at the top of TARGET as well. It writes nothing that 'check' finds a mistake in. It needs
gpg, and no network. An existing TARGET stays, status 1, unless --force is given.

--extra   a YAML file: its mappings go into those of the template, everything else in it takes the place of
          what the template has. Of the comments those at the top are kept.
--template  Mustache. Variables: domain, dns (comment lines), dkim_key, secret_key, registration_secret,
          password_reset_secret, ecs_backup, ecs_mediaserver, ecs_authority. What stands between
          {{{{#indent6}}}} and {{{{/indent6}}}} gets six spaces before each line; 1 to 24 are there.)help";

void add_create(CLI::App& parser, Invocation& call) {
  parser.add_option("DOMAIN", call.domain, "the domain of the appliance")->type_name("");
  parser.add_option("TARGET", call.target, "the file to write")->type_name("");
  parser.add_option("--template", call.form, "made from it instead of kiln's own template")
      ->type_name("FILE");
  parser.add_option("--extra", call.extra, "values to add or to change")->type_name("FILE");
  parser.add_flag("--force", call.force, "replace TARGET when it is there");
  parser.add_flag("--show-template", call.show_template, "print kiln's own template");
  parser.add_flag("--json", call.json, "one JSON object on stdout");
}

int create_verb(const Invocation& call) {
  if (call.show_template) {
    call.out << default_template();
    return 0;
  }
  if (call.domain.empty() || call.target.empty())
    throw usage("DOMAIN and TARGET are needed").hint("such as: ecs.example.org env.yml");
  if (call.target == "-")
    throw usage("TARGET is a file: standard output has the records for the DNS").hint("such as: env.yml");
  const std::vector<DnsRecord> records =
      create({call.domain, call.target, call.form, call.extra, call.force}, call.host);
  if (call.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const auto& [name, type, value] : records)
      list.push_back({{"name", name}, {"type", type}, {"value", value}});
    print(call, {{"ok", true}, {"file", call.target}, {"records", list}});
    return 0;
  }
  call.out << zone_text(records);
  return 0;
}

// ---- update

constexpr const char* kUpdateHelp = R"help(Example:
  {0}
  ENV_YML=./env.yml {0} --active ./active-env.yml

Takes the first environment that is there: the file that $ENV_YML names, /app/env.yml, user-data on a drive
labelled cidata, openstack/latest/user_data on one labelled config-2, the metadata of EC2 or GCE where the
machine's DMI names that cloud. One that is broken, or that `flatten` could not hand on, is status 1 or 2 and
changes nothing; so is none at all. Drives are read with mtools when they are FAT.)help";

void add_update(CLI::App& parser, Invocation& call) {
  parser.add_option("--active", call.active, "where it goes, mode 0600; default /run/active-env.yml")
      ->type_name("FILE");
  parser.add_flag("--json", call.json, "one JSON object on stdout");
}

int update_verb(const Invocation& call) {
  const std::string source = update({}, call.active, call.host);
  if (call.json)
    print(call, {{"ok", true}, {"file", call.active}, {"source", source}});
  else
    call.out << base::printable(fmt::format("{}: from {}", call.active, source)) << '\n';
  return 0;
}

// ---- package

constexpr const char* kPackageHelp = R"help(Example:
  {0} env.yml
  {0} --smtp smtp://mail.example.org env.yml

Checks FILE and writes beside it, mode 0600:

  FILE.pdf        how to recover, FILE as QR codes, and its text; to print and to lock away
  env-cidata.iso  a disk that configures a booting appliance; meta-data is meta-data.custom when that
                  is there
  DOMAIN.env.YYYY-MM-DD_HH.MM.tar.gz.gpg
                  all of it, encrypted to every public OpenPGP key in gpgkeys.txt, when that is there, and
                  mailed to each address in emailto.txt, one to a line, when that is there

All dates are that of the last change of FILE, UTC: two runs give the same bytes, but for the
encryption. Each is read back and compared before the first is written, the encrypted one when the
keyring has a secret key that needs no passphrase. It needs gpg, pdftoppm and xorriso.)help";

void add_package(CLI::App& parser, Invocation& call) {
  parser.add_option("FILE", call.file, "the environment")->required()->type_name("");
  parser
      .add_option("--smtp", call.mailing.server,
                  "the server that takes the mail; default " + call.mailing.server)
      ->type_name("URL");
  parser.add_option("--from", call.mailing.from, "its sender; default root@DOMAIN")->type_name("ADDRESS");
  parser.add_flag("--json", call.json, "one JSON object on stdout");
}

int package_verb(const Invocation& call) {
  if (call.file == "-") throw usage("standard input has no folder to write to").hint("give a file");
  const Package made = package(call.file, call.host, call.mailing);
  if (call.json) {
    nlohmann::ordered_json files = nlohmann::ordered_json::array();
    for (const std::filesystem::path& file : made.files) files.push_back(file.string());
    print(call, {{"ok", true},
                 {"files", files},
                 {"codes", made.codes},
                 {"decrypted", made.decrypted},
                 {"mailed", made.mailed}});
    return 0;
  }
  for (const std::filesystem::path& file : made.files) {
    const bool encrypted = file.extension() == ".gpg";
    call.out << base::printable(file.string()) << ": written, "
             << (encrypted && !made.decrypted ? "not decrypted again: no secret key is at hand"
                                              : "read back and the same")
             << '\n';
  }
  if (!made.mailed.empty()) call.out << "mailed to " << base::join(made.mailed, ", ") << '\n';
  return 0;
}

// ---- recover

constexpr const char* kRecoverHelp = R"help(Example:
  {0} -o env.yml scan1.png scan2.png
  {0} -o env.yml env.yml.pdf
  {0} -o env.yml ecs.example.org.env.2027-01-15_08.00.tar.gz.gpg

Gets an environment back from what 'package' made: from its PDF, from scanned pages (PDF, PNG, JPEG,
PNM; 150 dpi or more, in any order and any way up), or from the encrypted tarball, alone, with a secret
key of the keyring. When codes are missing it says which and writes nothing. It needs pdftoppm for a PDF
and gpg for a tarball. An existing file stays, status 1, unless --force is given.)help";

void add_recover(CLI::App& parser, Invocation& call) {
  parser.add_option("FILES", call.files, "scanned pages, a PDF or the tarball")->required()->type_name("");
  parser.add_option("-o,--output", call.target, "the file to write, mode 0600; - is standard output")
      ->required()
      ->type_name("FILE");
  parser.add_flag("--force", call.force, "replace it when it is there");
  parser.add_flag("--json", call.json, "one JSON object on stdout");
}

int recover_verb(const Invocation& call) {
  const bool to_stdout = call.target == "-";
  if (to_stdout && call.json)
    throw usage("--json is for standard output, which the environment goes to").hint("name a file with -o");
  if (!to_stdout && !call.force && std::filesystem::exists(std::filesystem::symlink_status(call.target)))
    throw Error("is there already")
        .at({call.target, 0, 0})
        .hint("choose another name, or replace it with --force");
  const std::string text = [&] {
    const LiveLine line(call);
    return recover({call.files.begin(), call.files.end()}, call.host,
                   [&](const std::string& doing) { line.show(doing); });
  }();
  if (to_stdout) {
    call.out << text;
    return 0;
  }
  if (call.force)
    host::write_file(call.target, text, 0600);
  else
    host::write_new_file(call.target, text, 0600);
  if (call.json)
    print(call, {{"ok", true}, {"file", call.target}, {"sha256", base::sha256(text)}});
  else
    call.out << base::printable(call.target) << ": recovered, SHA-256 " << base::sha256(text) << '\n';
  return 0;
}

// ---- all verbs

constexpr Verb kVerbs[] = {
    {"flatten", "Prints values of a YAML file as assignments for a shell", kFlattenHelp, &add_flatten,
     &flatten_verb},
    {"create", "Makes an environment with fresh secrets", kCreateHelp, &add_create, &create_verb},
    {"check", "Tells all mistakes of an environment", kCheckHelp, &add_check, &check_verb},
    {"update", "Puts the environment that the machine was given in force", kUpdateHelp, &add_update,
     &update_verb},
    {"package", "Makes its PDF, seed disk and encrypted archive", kPackageHelp, &add_package, &package_verb},
    {"recover", "Gets it back from paper", kRecoverHelp, &add_recover, &recover_verb},
};

constexpr const char* kHelp = R"help(Example:
  {0} create ecs.example.org env.yml
  {0} check env.yml
  {0} update
  {0} flatten ecs,appliance env.yml
  {0} flatten --help

Exit status: 0 done, 1 it failed, 2 a bad file or command line, 3 a tool is missing.)help";

std::vector<std::string> verb_names() {
  std::vector<std::string> names;
  for (const Verb& verb : kVerbs) names.emplace_back(verb.name);
  return names;
}

const Verb& find_verb(const std::string& name, const std::string& called) {
  for (const Verb& verb : kVerbs) {
    if (name == verb.name) return verb;
  }
  const std::string guess = base::did_you_mean(name, verb_names());
  throw usage(fmt::format("{}: unknown verb '{}'{}", called, shown(name),
                          guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)))
      .hint("known are " + base::join(verb_names(), ", "));
}

// CLI11's own words do for values that are missing; for what it does not know a guess says more. An option it
// does not know goes before a word that is missing.
Error translated(const CLI::ParseError& error, const CLI::App& parser) {
  const std::string see = fmt::format("see {} --help", parser.get_name());
  std::vector<std::string> extras = parser.remaining();
  const bool words = !extras.empty() && extras.front() == "--";  // no options follow
  if (words) extras.erase(extras.begin());
  const bool unknown = !extras.empty() && !words && extras.front().starts_with('-');
  if (!unknown && dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extras.empty())
    return usage(fmt::format("'{}' is one word too many", shown(extras.front()))).hint(see);
  if (!unknown) return usage(error.what()).hint(see);
  std::vector<std::string> known;
  for (const CLI::Option* option : parser.get_options())
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  const std::string word = extras.front().substr(0, extras.front().find('='));
  const std::string guess = base::did_you_mean(word, known);
  return usage(fmt::format("unknown option '{}'{}", shown(word),
                           guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)))
      .hint(see);
}

// False when help was asked for, and given.
bool parsed(CLI::App& parser, const std::vector<std::string>& words, std::ostream& out) {
  try {
    parser.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    return true;
  } catch (const CLI::CallForVersion& version) {
    out << version.what() << '\n';
    return false;
  } catch (const CLI::CallForHelp&) {
    out << parser.help();
    return false;
  } catch (const CLI::ParseError& error) {
    throw translated(error, parser);
  }
}

int run_verb(const Verb& verb, const std::string& called, const std::vector<std::string>& words,
             const host::Host& host, std::ostream& out, std::ostream& err) {
  Invocation call(host, out, err);
  CLI::App parser(verb.summary, called);
  parser.footer(fmt::format(fmt::runtime(verb.help), called));
  verb.add_options(parser, call);
  return parsed(parser, words, out) ? verb.run(call) : 0;
}

}  // namespace

int run(const std::string& called, std::vector<std::string> words, const host::Host& host, std::ostream& out,
        std::ostream& err) {
  host::forbid_core_files();
  if (called == kFlatyaml) return run_verb(kVerbs[0], called, words, host, out, err);
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  if (words.empty()) throw usage(called + ": no verb").hint("known are " + base::join(verb_names(), ", "));
  if (!words.front().starts_with('-')) {
    const Verb& verb = find_verb(words.front(), called);
    return run_verb(verb, fmt::format("{} {}", called, verb.name), {words.begin() + 1, words.end()}, host,
                    out, err);
  }
  CLI::App top("Makes, checks and reads the one file that configures an appliance.", called);
  top.footer(fmt::format(fmt::runtime(kHelp), called));
  top.set_version_flag("--version", fmt::format("{} {}", called, KILN_VERSION));
  for (const Verb& verb : kVerbs) top.add_subcommand(verb.name, verb.summary);
  if (parsed(top, words, out))
    throw usage(called + ": no verb").hint("known are " + base::join(verb_names(), ", "));
  return 0;
}

int main(int argc, const char* const* argv, const host::Host& host, std::ostream& out, std::ostream& err) {
  const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  const bool json = std::find(words.begin(), words.end(), "--json") != words.end();
  try {
    host::install_signal_flags();
    const std::filesystem::path self = argc > 0 ? std::filesystem::path(argv[0]).filename() : "";
    return run(self == kFlatyaml || self == "flatyaml.py" ? std::string(kFlatyaml) : "kiln-env", words, host,
               out, err);
  } catch (const Error& error) {
    return base::report(error, json, "", out, err);
  } catch (const std::exception& error) {
    const Error wrapped = Error(fmt::format("internal error: {}", error.what()))
                              .hint("this is a bug of kiln; run again with the same input and report both");
    return base::report(wrapped, json, "", out, err);
  }
}

}  // namespace kiln::env
