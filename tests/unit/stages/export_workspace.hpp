// What a stage that exports may touch, for tests: a small disk with /hello in its root file system, and the
// host's real tools.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::tests {

class ExportWorkspace : public FakeWorkspace {
 public:
  const host::Host& host() const override { return real_; }
  std::filesystem::path image() override { return tree_ / "image.qcow2"; }
  std::filesystem::path output() override { return tree_ / "out"; }

  ExportWorkspace() {
    std::filesystem::create_directory(output());
    std::filesystem::create_directory(tree_ / "root");
    host::write_file(tree_ / "root/hello", "hello\n");
    const auto raw = (tree_ / "raw").string();
    run({"truncate", "-s", "1G", raw});
    host::Command table{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", raw};
    table.input = "label: gpt\nstart=16384\n";
    host::require(*real_.runner, table);
    run({"mke2fs", "-q", "-t", "ext4", "-L", "cloudimg-rootfs", "-d", (tree_ / "root").string(), "-E",
         "offset=8388608", raw, "1000m"});
    run({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image().string()});
    std::filesystem::remove(raw);
  }
  std::string run(const std::vector<std::string>& argv) const {
    host::Command command;
    command.argv = argv;
    return host::require(*real_.runner, command).out;
  }
  // What qemu-img says of what was exported.
  nlohmann::json info(const std::string& name) {
    return nlohmann::json::parse(run({"qemu-img", "info", "--output=json", (output() / name).string()}));
  }
  // What debugfs answers to `request` about the root file system in it.
  std::string ask(const std::string& name, const std::string& format, const std::string& request) {
    const auto raw = (tree_ / "again").string();
    run({"qemu-img", "convert", "-f", format, "-O", "raw", (output() / name).string(), raw});
    return run({"debugfs", "-R", request, raw + "?offset=8388608"});
  }

 private:
  host::Host real_ = host::Host::system();
  fakes::TempTree tree_;
};

}  // namespace kiln::tests
