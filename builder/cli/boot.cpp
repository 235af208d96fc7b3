#include <algorithm>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/digest.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "cache/store.hpp"
#include "cli/verbs.hpp"
#include "engine/engine.hpp"
#include "engine/kept_boot.hpp"
#include "engine/machines.hpp"
#include "engine/proof_spec.hpp"
#include "engine/publish.hpp"
#include "engine/tools.hpp"
#include "env/check.hpp"
#include "env/read.hpp"
#include "env/sources.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "image/disk.hpp"
#include "plan/plan.hpp"

namespace kiln::cli {
namespace {

namespace fs = std::filesystem;

// The checks to run: of --profile, else those image.json beside the image says it was proven by, else the
// boot alone.
struct Wanted {
  profile::Proof proof;
  std::string from;
};

// `sha256` of the image: a file that was copied over another lies beside what image.json says of that one.
Wanted read_image_json(const Invocation& call, const fs::path& image, const std::string& sha256) {
  Wanted plain;
  plain.proof.ports.push_back({22, "ssh", "/", std::nullopt, "", {}});
  plain.from = "the boot and ssh alone; --profile says more";
  const fs::path file = image.parent_path() / "image.json";
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return plain;
  const auto all = nlohmann::json::parse(host::read_file(file), nullptr, false);
  if (!all.is_object() || !all.contains("proof") || !all.contains("artifacts")) return plain;
  for (const auto& one : all.at("artifacts")) {
    if (!one.is_object() || one.value("name", "") != image.filename().string()) continue;
    if (one.value("sha256", "") == sha256)
      return {engine::proof_from_json(all.at("proof").dump()), file.string()};
    if (call.shell || !call.command.empty()) break;  // which ask for no checks
    throw base::Error(fmt::format("it describes another {}: the sha256 differs", image.filename().string()),
                      base::Exit::usage)
        .at({file.string(), 0, 0})
        .hint("name the profile whose checks are to be run with --profile");
  }
  return plain;
}

Wanted from_image_json(const Invocation& call, const fs::path& image, const std::string& sha256) {
  const base::Where file{(image.parent_path() / "image.json").string(), 0, 0};
  try {
    return read_image_json(call, image, sha256);
  } catch (const nlohmann::json::exception& failure) {
    throw base::Error(fmt::format("it is not as kiln writes it: {}", failure.what()), base::Exit::usage)
        .at(file)
        .hint("name the profile whose checks are to be run with --profile");
  } catch (base::Error& error) {
    if (error.where().file.empty()) error.at(file);
    throw;
  }
}

Wanted wanted(const Invocation& call, const fs::path& image, const std::string& sha256) {
  if (call.profile.empty()) return from_image_json(call, image, sha256);
  const auto file = profile::find_profile(call.profile, call.share);
  return {plan::load_plan(file, call.stages).profile.proof, file.string()};
}

const char* outcome_of(const proof::Verdict& verdict) {
  if (verdict.proven) return "proven";
  if (verdict.resumed) return verdict.passed ? "passed, which from saved memory is no proof," : "NOT PASSED";
  return verdict.passed ? "passed, which with an environment is no proof," : "NOT PROVEN";
}

void print(std::ostream& out, const fs::path& image, const std::vector<proof::Verdict>& verdicts,
           const fs::path& output) {
  for (const auto& verdict : verdicts) {
    const char* outcome = outcome_of(verdict);
    out << fmt::format("{} ({}, {}{}): {} in {}\n", image.string(), verdict.firmware, verdict.accel,
                       verdict.resumed ? ", resumed from saved memory" : "", outcome,
                       base::human_seconds(verdict.seconds));
    for (const auto& check : verdict.checks) {
      const char* how = !check.ran ? "not run" : check.passed ? "ok" : "FAILED";
      out << base::printable(fmt::format("  {:<7}  {} {}{}", how, check.kind, check.name,
                                         check.detail.empty() ? "" : ": " + check.detail))
          << '\n';
    }
    if (!verdict.inside) out << "  looked at from outside only\n";
  }
  out << fmt::format("  reports: {}\n", output.string());
}

// What --env names; "" when it names nothing.
std::string user_data(const Invocation& call) {
  if (call.env.empty()) return {};
  host::forbid_core_files();
  if (call.env.extension() != ".iso") {
    std::string text = env::read_source(call.env).text;
    if (text.size() > env::kLongest)
      throw base::Error("has more than 1 MiB", base::Exit::usage)
          .at({call.env.string(), 0, 0})
          .hint("an appliance takes no longer one");
    return text;
  }
  std::error_code ignored;
  if (!fs::is_regular_file(call.env, ignored))
    throw base::Error("is no file", base::Exit::usage).at({call.env.string(), 0, 0});
  const auto text = env::from_iso(call.env, "user-data");
  if (!text)
    throw base::Error("there is no user-data in it", base::Exit::usage)
        .at({call.env.string(), 0, 0})
        .hint("`kiln env package` makes such a disk: env-cidata.iso");
  return *text;
}

// What an appliance would refuse is told before minutes are spent on booting it. A note and no error: some
// boot to see just that, and not every image is an appliance. Nor is a gpg that is missing here.
void look_at(const std::string& given, const Invocation& call, Progress& observer) {
  if (given.empty()) return;
  try {
    const auto mistakes = env::check({given, call.env.string()}, call.host);
    if (mistakes.empty()) return;
    observer.note(fmt::format("{}; the appliance will refuse it (kiln env check: {} in all)",
                              mistakes.front().what(), mistakes.size()));
  } catch (const base::Error& error) {
    if (error.exit() != base::Exit::missing) throw;
    observer.note(error.what());
  }
}

int boot_once(const Invocation& call, Progress& observer) {
  const fs::path image = fs::absolute(call.arguments.at(0)).lexically_normal();
  std::error_code ignored;
  if (!fs::is_regular_file(image, ignored))
    throw base::Error(fmt::format("there is no image at {}", image.string()), base::Exit::usage)
        .hint("kiln build makes one below ./out");
  if (image.extension() == ".yml" || image.extension() == ".yaml")
    throw base::Error(fmt::format("{} is a profile, no image", image.string()), base::Exit::usage)
        .hint(
            "kiln build makes an image of it and boots that; an image and its checks are `kiln boot IMAGE "
            "--profile PROFILE`");
  if (!image::can_boot(image))
    throw base::Error("is no disk image: of no format that kiln knows, and without a boot record",
                      base::Exit::usage)
        .at({image.string(), 0, 0})
        .hint("kiln build makes one below ./out");
  const auto sha256 = base::sha256_file(image);
  auto want = wanted(call, image, sha256);
  if (!call.firmware.empty())
    want.proof.firmware = {call.firmware == "uefi" ? profile::Firmware::uefi : profile::Firmware::bios};
  const std::string given = user_data(call);
  look_at(given, call, observer);
  engine::require_tools(call.host, proof::tools());
  if (call.shell || !call.command.empty())
    return shell(call, {image, sha256, given, false}, want.proof, observer);
  for (const auto firmware : want.proof.firmware) proof::require_firmware(firmware);

  observer.note(fmt::format("checks: {}", want.from));
  const host::Host host = engine::limited(call.host, call.timeout);
  cache::Store store(host, call.store);
  const auto machines = engine::real_machines(host, store.root() / "machine");
  const auto accel = machines->choose_accel(call.accel, {});
  observer.note(accel.why);

  engine::Publisher publisher(
      call.host, call.output.empty() ? fs::path("out") / ("boot-" + image.stem().string()) : call.output);
  const auto entry = store.scratch();
  std::vector<proof::Verdict> verdicts;
  for (const auto firmware : want.proof.firmware) {
    const std::string name = engine::firmware_name(firmware);
    proof::BootOptions options;
    options.image = image;
    options.proof = want.proof;
    options.firmware = firmware;
    options.accel = accel.accel;
    options.limits = image::limits_for(accel.accel);
    if (call.timeout.count() > 0) options.limits.boot = call.timeout;
    options.scratch = entry.folder() / name;
    fs::create_directories(options.scratch);
    options.console = entry.folder() / ("console-" + name + ".log");
    options.screen = entry.folder() / ("screen-" + name + ".png");
    options.user_data = given;
    options.on_doing = [&](std::string_view what) { observer.doing(what); };
    const double begun = call.host.elapsed();
    observer.step_begins("boot-" + name, fmt::format("{} {}", call.resume ? "Resuming" : "Booting",
                                                     image.filename().string()));
    proof::Verdict verdict;
    if (call.resume)
      engine::with_kept_boot(call.host, store, *machines, options, sha256, observer,
                             [&](const proof::BootOptions& with) { verdict = machines->prove(with); });
    else
      verdict = machines->prove(options);
    verdict.image_sha256 = sha256;
    if (verdict.firmware.empty()) verdict.firmware = name;
    observer.step_ends("boot-" + name,
                       verdict.passed ? stage::Observer::How::done : stage::Observer::How::failed,
                       std::max(0.0, call.host.elapsed() - begun), "");
    const std::string tail = verdicts.empty() ? "" : "-" + name;
    if (fs::is_regular_file(options.console, ignored))
      publisher.file(options.console, "console" + tail + ".log");
    if (fs::is_regular_file(options.screen, ignored))
      publisher.file(options.screen, "screen" + tail + ".png");
    else
      publisher.retract("screen" + tail + ".png");
    verdicts.push_back(std::move(verdict));
  }
  publisher.text("junit.xml", proof::junit(image.stem().string(), verdicts));
  const bool ok = !verdicts.empty() && std::all_of(verdicts.begin(), verdicts.end(),
                                                   [](const auto& verdict) { return verdict.passed; });
  if (call.json) {
    nlohmann::json result = {{"ok", ok},
                             {"image", image.string()},
                             {"checks_of", want.from},
                             {"output", publisher.folder().string()},
                             {"verdicts", nlohmann::json::array()}};
    for (const auto& verdict : verdicts) result["verdicts"].push_back(nlohmann::json::parse(verdict.json()));
    call.out << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    print(call.out, image, verdicts, publisher.folder());
  }
  call.out.flush();
  if (!ok) observer.failed(fmt::format("{}: {}", image.filename().string(), proof::failure(verdicts)));
  return static_cast<int>(ok ? base::Exit::done : base::Exit::failed);
}

}  // namespace

int boot(const Invocation& call) {
  return with_progress(call, [&](Progress& observer) { return boot_once(call, observer); });
}

}  // namespace kiln::cli
