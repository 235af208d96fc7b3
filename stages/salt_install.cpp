// salt_install: masterless Salt from locked files. See `doc` below.

#include <array>

#include "stage/stage.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc =
    R"(Puts masterless Salt into the image: a virtual environment of its own, from a lock file.

    - packages:
        install: [python3-venv, python3-apt]
    - salt_install:
        lock: locks/salt-py311.txt

The lock is in pip's format, every line `NAME==VERSION --hash=sha256:...` naming one published file (a wheel or an
sdist). Its section `# build` is what sdists are built with, in a throw-away environment; `# run` is what
stays. The files are fetched on the host once, verified, kept in the store and carried in: the image needs no network.
`salt-call --local` works in the finished image, so that it can apply its states again by itself.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "lock", .type = stage::Type::file, .fallback = {}, .required = true, .doc = "The lock file."},
    {.name = "prefix",
     .type = stage::Type::text,
     .fallback = "/opt/salt",
     .doc = "Where the virtual environment lies in the image; replaced when it is there.",
     .pattern = "(/[A-Za-z0-9._-]*[A-Za-z0-9_-])+"},
    {.name = "python",
     .type = stage::Type::text,
     .fallback = "python3",
     .doc = "The image's interpreter.",
     .pattern = "(/?[A-Za-z0-9][A-Za-z0-9._-]*)+"},
    {.name = "python_version",
     .type = stage::Type::text,
     .fallback = "3.11",
     .doc = "The interpreter's version, which decides what wheels fit.",
     .pattern = "3\\.[0-9]+"},
}};

constexpr std::array<std::string_view, 1> tools = {"pip3"};

}  // namespace

extern const stage::StageType salt_install;
const stage::StageType salt_install = {
    .name = "salt_install",
    .summary = "Masterless Salt from a lock file of wheels and sdists",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::native_or_guest,
    .revision = 1,
    .options = options,
    .tools = tools,
};

}  // namespace kiln::stages
