// packages: distribution packages by apt-get. See `doc` below.

#include <array>

#include "stage/stage.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc =
    R"(Installs packages of the distribution with apt-get, without starting their daemons.

    - packages:
        install: [nginx, postgresql, docker.io]
        from: [lists/tools.txt]     # one package a line, # begins a comment

Where kiln may use namespaces and loop devices (as root) this happens natively on the mounted layer; else in a booted
guest. The content is the same by either way. What a later `salt_highstate` would install belongs here: without KVM a
highstate that finds its packages takes a sixth of the time.

A name may carry a version, `nginx=1.22.1-9`. Package lists and caches do not stay in the image.)";

constexpr std::array<stage::Option, 3> options = {{
    {.name = "install",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Names of packages, each with an optional =VERSION.",
     .pattern = "[a-z0-9][a-z0-9+.-]*[a-z0-9+](:[a-z0-9]+)?(=[0-9][A-Za-z0-9.+:~-]*)?"},
    {.name = "from",
     .type = stage::Type::files,
     .fallback = {},
     .doc = "Files with more names, one a line; # begins a comment."},
    {.name = "recommends",
     .type = stage::Type::flag,
     .fallback = "false",
     .doc = "Install recommended packages too."},
}};

}  // namespace

extern const stage::StageType packages;
const stage::StageType packages = {
    .name = "packages",
    .summary = "Distribution packages, installed natively or in the guest",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::native_or_guest,
    .revision = 1,
    .resolves = true,
    .options = options,
    .tools = {},
};

}  // namespace kiln::stages
