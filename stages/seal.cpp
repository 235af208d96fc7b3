// seal: takes out what one machine must not share with its copies. See `doc` below.

#include <array>

#include "stage/stage.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Makes the image fit to be copied. The last of the image stages.

    - seal:
        remove: [/root/build-notes.txt]
        keep: [/var/log/installer]

Removes ssh host keys, the machine id, random seeds, the snakeoil certificate, docker's engine id, the Salt minion's id,
keys and caches, cloud-init's state, network files and leases of the build, logs, shell histories, package lists and
caches, backups of the user database and everything in /tmp. What a service needs is made again at first boot, before
that service: by systemd, by the service itself, or by units that this step adds (`kiln-ssh-keys.service`,
`kiln-snakeoil.service`). Free space is discarded last, so that nothing removed remains in the disk.)";

constexpr std::array<stage::Option, 2> options = {{
    {.name = "remove",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Further paths to remove; * stands for anything within one part.",
     .pattern = "/[^\\s]+"},
    {.name = "keep",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Paths that stay with all below them although they are on the list.",
     .pattern = "/[^\\s]+"},
}};

}  // namespace

extern const stage::StageType seal;
const stage::StageType seal = {
    .name = "seal",
    .summary = "Removes identities, secrets and traces of the build; the last image step",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = {},
};

}  // namespace kiln::stages
