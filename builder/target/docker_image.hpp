// What a docker image is made of, as a definition says: one YAML file an image. Nothing is made here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace kiln::target {

struct DockerImage {
  enum class Source { suite, on, registry, archive, dockerfile };
  struct User {
    std::string name;
    int id = 0;  // of the user and of its group
    std::string home = "/nonexistent";
  };
  struct Maven {
    std::filesystem::path project;  // a folder with a pom.xml
    std::string tree;               // what it builds, in the project
    std::string to;
  };
  struct Fetch {
    std::string url, sha256, to;
  };
  struct Files {
    std::filesystem::path from;
    std::string to;
  };

  std::string name;  // with its tag: "redis:latest"
  Source source = Source::suite;
  std::string from;                // a suite, another image with its tag, or what skopeo calls a reference
  std::filesystem::path local;     // an archive, or the folder of a Dockerfile
  std::string sha256;              // of an archive
  std::vector<std::string> bases;  // images that have to be there before it, with their tags
  std::vector<std::string> packages;
  std::vector<User> users;
  std::vector<Maven> maven;
  std::vector<Fetch> fetch;
  std::vector<Files> files;
  std::vector<std::vector<std::string>> run;
  std::vector<std::string> remove;
  std::string config;  // JSON of what the engine calls an image's configuration
  base::Where where;   // of the line that says what it stands on
  std::string text;    // of the definition

  // Made here from packages and files, by suite or on another image.
  [[nodiscard]] bool composed() const { return source == Source::suite || source == Source::on; }
};

struct Definition {
  std::filesystem::path file;  // relative paths start from its folder
  std::string text;
};

// All images, each behind those that it stands on. Throws base::Errors (Exit::usage) with every mistake of
// all of them, each with its place. The files that they name are looked at for being there, and Dockerfiles
// for what they build on.
std::vector<DockerImage> read_docker_images(const std::vector<Definition>& definitions);

// "redis:latest" for "redis".
std::string with_tag(std::string_view name);

// True when the registry of a reference ("127.0.0.1:5000/redis@sha256:...") is on this machine.
bool is_on_loopback(const std::string& reference);

}  // namespace kiln::target
