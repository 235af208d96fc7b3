// overlay: a local file tree copied into the image. See `doc` below.

#include <array>

#include "stage/stage.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Copies a local tree into the image, over what is there.

    - overlay:
        tree: overlays/site         # overlays/site/etc/motd becomes /etc/motd
        into: /

Files become root:root and 0644, or 0755 when their execute bit is set; directories 0755; links stay links.
`overlay.yml` at the top of the tree says otherwise for some paths and is not copied itself. Later rules win; `*`
stands for anything within one part of a path, `**` for any number of parts:

    rules:
      - path: etc/sudoers.d/*
        mode: "0440"
      - path: home/app/**
        owner: app                  # a name from the image's own /etc/passwd, or a number
        group: app

Directories that are there already keep their owner and mode unless a rule names them. A private key in the tree is
an error: every copy of the image would share it; make keys on the machine at first boot.)";

constexpr std::array<stage::Option, 2> options = {{
    {.name = "tree",
     .type = stage::Type::tree,
     .fallback = {},
     .required = true,
     .doc = "The local directory to copy."},
    {.name = "into",
     .type = stage::Type::text,
     .fallback = "/",
     .doc = "The directory of the image that the tree is laid over; made when it is not there.",
     .pattern = "/[^\\s]*"},
}};

}  // namespace

extern const stage::StageType overlay;
const stage::StageType overlay = {
    .name = "overlay",
    .summary = "A local file tree, with owners and modes",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = {},
};

}  // namespace kiln::stages
