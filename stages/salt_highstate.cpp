// salt_highstate: a Salt state tree applied in the booted guest. See `doc` below.

#include <array>

#include "stage/stage.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Applies a Salt highstate inside the booted guest, without a master.

    - salt_highstate:
        tree: overlays/ecs/salt     # has top.sls
        pillar: overlays/ecs/pillar

The trees stay in the image at INTO/salt and INTO/pillar, and /etc/salt/minion.d/kiln.conf names them, so that
`salt-call --local state.highstate` does the same again in the finished image. Salt itself must be there: see
`salt_install`.

A failed state fails the build: the error names each one's id, function, file and comment. All results are kept as
salt.json beside the layer's log, and packages that the states still had to install are named, since they are
installed faster by a `packages` step. Neither tree may hold a private key.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "tree",
     .type = stage::Type::tree,
     .fallback = {},
     .required = true,
     .doc = "The state tree; has top.sls."},
    {.name = "pillar", .type = stage::Type::tree, .fallback = {}, .doc = "The pillar tree; has top.sls."},
    {.name = "into",
     .type = stage::Type::text,
     .fallback = "/srv",
     .doc = "Where the trees lie in the image: INTO/salt and INTO/pillar, replaced when they are there.",
     .pattern = "(/[A-Za-z0-9._-]*[A-Za-z0-9_-])+"},
    {.name = "minion_id",
     .type = stage::Type::text,
     .fallback = "appliance",
     .doc = "The name by which top files match this machine, the same in build and in use.",
     .pattern = "[A-Za-z0-9][A-Za-z0-9._-]*"},
}};

}  // namespace

extern const stage::StageType salt_highstate;
const stage::StageType salt_highstate = {
    .name = "salt_highstate",
    .summary = "A Salt state tree, applied in the booted guest",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::guest,
    .revision = 1,
    .options = options,
    .tools = {},
};

}  // namespace kiln::stages
