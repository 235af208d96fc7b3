#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <regex>
#include <set>

#include "base/digest.hpp"
#include "plan/plan.hpp"
#include "stages/all.hpp"
#include "unit/plan/samples.hpp"

namespace kiln::plan {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class KeysTest : public testing::Test {
 protected:
  std::vector<StepKey> keys(const std::string& text) { return make_keys(desk_.plan(text), host_); }
  Desk desk_;
  host::Host host_ = fake_host();
};

TEST_F(KeysTest, TheTextIsWrittenInItsFormat) {
  desk_.write("list.txt", "x");
  const auto all = keys("steps: [{base_a: }, {change: {text: \"a b\", files: [list.txt], flag: true}}]\n");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].text, "kiln-key 1\nstage base_a\nrevision 1\ntool mktool mktool 1.0\n");
  EXPECT_EQ(all[1].text,
            "kiln-key 1\nstage change\nrevision 1\noption choice = \"red\"\noption flag = true\n"
            "option number = 1\noption text = \"a b\"\ninput files[0] \"list.txt\"\n  file 0644 " +
                base::sha256("x") + " \"\"\nparent " + all[0].key + "\n");
  EXPECT_EQ(all[1].key, base::sha256(all[1].text));
  EXPECT_EQ(all[1].inputs.begin()->first, desk_.path("list.txt"));
}

TEST_F(KeysTest, AFileThatAnOptionPinsIsNotRead) {
  desk_.write("disk.img", "x");
  const auto all = keys("steps: [{base_pinned: {image: disk.img, sha256: abc}}]\n");
  EXPECT_EQ(all[0].text, "kiln-key 1\nstage base_pinned\nrevision 1\noption sha256 = \"abc\"\n");
  EXPECT_THAT(all[0].inputs, IsEmpty());
}

TEST_F(KeysTest, OnlyStagesThatMayBootDependOnTheMachine) {
  const std::string steps = "steps: [{base_a: }, {change: }, {boots: }, {change: }]\n";
  const auto before = keys(steps);
  const auto after = keys("guest: {cpus: 4}\n" + steps);
  EXPECT_EQ(before[1].key, after[1].key);
  EXPECT_NE(before[2].key, after[2].key);
  EXPECT_NE(before[3].key, after[3].key);  // by its parent
  EXPECT_THAT(
      after[2].text,
      HasSubstr("fact guest.cpus = 4\nfact guest.memory = 2147483648\nfact machine = pc-q35-7.2 qemu64\n"));
  EXPECT_THAT(after[3].text, Not(HasSubstr("machine")));
}

TEST_F(KeysTest, ExportsDependOnTheImageAndNotOnEachOther) {
  const auto all =
      keys("steps: [{base_a: }, {seal: }, {export: }, {export_too: }, {id: x, secret: {token: t0ken}}]\n");
  EXPECT_THAT(all[2].text, HasSubstr("parent " + all[1].key));
  EXPECT_THAT(all[3].text, HasSubstr("parent " + all[1].key));
}

TEST_F(KeysTest, AllInputsThatCannotBeReadAreToldWhereTheProfileNamesThem) {
  desk_.write("tree/file", "x");
  ASSERT_EQ(::mkfifo(desk_.path("tree/fifo").c_str(), 0600), 0);
  desk_.write("other/file", "x");
  ASSERT_EQ(::mkfifo(desk_.path("other/fifo").c_str(), 0600), 0);
  try {
    keys("steps:\n  - base_a:\n  - change: {tree: tree}\n  - id: more\n    change: {tree: other}\n");
    FAIL() << "read a fifo";
  } catch (const base::Errors& errors) {
    EXPECT_EQ(errors.exit(), base::Exit::usage);
    ASSERT_EQ(errors.all().size(), 2U);
    EXPECT_EQ(errors.all()[0].where().text(), desk_.path("p.yml").string() + ":3:20");
    EXPECT_THAT(errors.all()[0].what(), HasSubstr("tree/fifo' is a device, socket or fifo; only files"));
    EXPECT_EQ(errors.all()[1].where().line, 5);
    EXPECT_EQ(errors.all()[1].exit(), base::Exit::usage);
    EXPECT_THAT(errors.all()[1].what(), HasSubstr("while reading the inputs of step 'more'"));
  }
}

TEST_F(KeysTest, AStageThatIsNeverReusedLeavesNoTextOfItsInputs) {
  const auto all = keys("steps: [{base_a: }, {secret: {token: t0ken}}]\n");
  EXPECT_EQ(all[1].text, "");
  EXPECT_EQ(all[1].key, "");
  EXPECT_THAT(all[1].inputs, IsEmpty());
}

TEST_F(KeysTest, WhatDoesNotChangeTheResultChangesNoKey) {
  const auto before = keys("steps: [{base_a: }, {change: {choice: red}}]\n");
  const auto after = keys(
      "name: other\ndescription: words\nproof: {units: [a.service], cpus: 4}\n"
      "steps: [{id: first, base_a: {}}, {id: second, change: {number: 1}}]\n");
  EXPECT_EQ(before[1].key, after[1].key);
}

TEST_F(KeysTest, WhereACheckoutLiesChangesNoKey) {
  Desk elsewhere;
  const std::string text = "steps: [{base_a: }, {change: {tree: t, files: [t/f]}}]\n";
  for (Desk* desk : {&desk_, &elsewhere}) desk->write("t/f", "x");
  const auto here = make_keys(desk_.plan(text), host_);
  const auto there = make_keys(elsewhere.plan(text), host_);
  EXPECT_EQ(here[1].text, there[1].text);
  EXPECT_THAT(here[1].text, Not(HasSubstr(desk_.path("").string())));
}

TEST_F(KeysTest, AnUnreadableInputNamesTheStep) {
  desk_.write("t/f", "x");
  const Plan plan = desk_.plan("steps: [{base_a: }, {id: mine, change: {tree: t}}]\n");
  fs::remove_all(desk_.path("t"));
  try {
    make_keys(plan, host_);
    FAIL() << "digested what is not there";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("while reading the inputs of step 'mine'"));
  }
}

// ---- every option of every stage there is

// Two values of an option that its table takes, as one would write them in YAML.
class Values {
 public:
  explicit Values(Desk& desk) : desk_(desk) {}

  std::pair<std::string, std::string> of(const stage::Option& option) {
    const std::string name(option.name);
    switch (option.type) {
      case stage::Type::flag:
        return {"true", "false"};
      case stage::Type::number:
        return {std::to_string(option.minimum + 1), std::to_string(option.minimum + 2)};
      case stage::Type::size:
        return {std::to_string(option.minimum + (1 << 20)), std::to_string(option.minimum + (2 << 20))};
      case stage::Type::text:
        return texts(option);
      case stage::Type::texts: {
        const auto [a, b] = texts(option);
        return {"[" + a + "]", "[" + b + "]"};
      }
      case stage::Type::file:
        return {file(name + "/a"), file(name + "/b")};
      case stage::Type::files:
        return {"[" + file(name + "/c") + "]", "[" + file(name + "/d") + "]"};
      case stage::Type::tree:
        desk_.write(name + "-1/etc/a", "1");
        desk_.write(name + "-2/etc/a", "2");
        return {name + "-1", name + "-2"};
    }
    throw std::logic_error("an option of unknown type");
  }

 private:
  std::string file(const std::string& name) {
    desk_.write(name, std::string(1, name.back()) + "content\n");
    return name;
  }

  // The first two of some likely texts that the table takes.
  std::pair<std::string, std::string> texts(const stage::Option& option) {
    if (!option.choices.empty()) return {std::string(option.choices[0]), std::string(option.choices[1])};
    const std::vector<std::string> likely = {"abc",
                                             "abd",
                                             "/etc/x",
                                             "/etc/y",
                                             "https://x/",
                                             "https://y/",
                                             "3.10",
                                             "3.12",
                                             std::string(64, 'a'),
                                             std::string(64, 'b'),
                                             "en_US.UTF-8",
                                             "de_AT.UTF-8",
                                             "0755",
                                             "0644"};
    std::vector<std::string> taken;
    for (const std::string& text : likely) {
      const bool matches = option.pattern.empty() ||
                           std::regex_match(text, std::regex(option.pattern.begin(), option.pattern.end()));
      if (matches) taken.push_back("'" + text + "'");
    }
    if (taken.size() < 2) {
      throw std::logic_error("no two texts are known that match " + std::string(option.pattern));
    }
    return {taken[0], taken[1]};
  }

  Desk& desk_;
};

// Writes one option's value into the key and nothing of the stage itself, so that a combination the stage
// would refuse does not hide a row of its table.
std::string key_of(Desk& desk, const stage::StageType& type, const std::string& options,
                   const host::Host& host) {
  class Idle : public stage::Stage {
   public:
    [[nodiscard]] std::string text(stage::Tense /*tense*/) const override { return "Idle"; }
    void run(stage::Workspace& /*work*/) const override {}
  };
  std::vector<base::Error> errors;
  const std::string file = desk.write("options.yml", options).string();
  const profile::Node node = profile::Node::read(file, errors);
  Plan plan;
  plan.steps.push_back(
      {"x", &type, std::make_shared<Idle>(), stage::parse_options(type, node, {file, 1, 1}, errors), {}});
  for (const base::Error& error : errors) {
    // Other options that are required are not what this is about.
    if (std::string(error.what()).find("needs '") == std::string::npos) ADD_FAILURE() << error.what();
  }
  return make_keys(plan, host).front().key;
}

TEST(EveryOptionTest, ChangedAloneChangesTheKey) {
  const host::Host host = fake_host();
  int options = 0;
  for (const stage::StageType* type : stages::all()) {
    if (type->reuse == stage::Reuse::never) continue;  // it has no key
    for (const stage::Option& option : type->options) {
      Desk desk;
      const auto [one, two] = Values(desk).of(option);
      const std::string name(option.name);
      const std::string none = key_of(desk, *type, "{}\n", host);
      const std::string first = key_of(desk, *type, fmt::format("{{{}: {}}}\n", name, one), host);
      const std::string again = key_of(desk, *type, fmt::format("{{{}: {}}}\n", name, one), host);
      const std::string second = key_of(desk, *type, fmt::format("{{{}: {}}}\n", name, two), host);
      EXPECT_EQ(first, again) << type->name << ": " << name;
      if (!option.pinned_by.empty()) {  // another option stands for it
        EXPECT_EQ(first, second) << type->name << ": " << name;
        continue;
      }
      EXPECT_NE(first, second) << type->name << ": " << name;
      EXPECT_TRUE(none != first || none != second) << type->name << ": " << name;
      ++options;
    }
  }
  EXPECT_GT(options, 20);
}

// ---- a thousand random edits

// What a profile's tree and values are, told apart by the test's own means and not by kiln's.
struct Model {
  struct File {
    bool link = false;
    bool executable = false;
    std::string content;  // or target
    auto operator<=>(const File&) const = default;
  };
  std::map<std::string, File> files;
  std::map<std::string, std::string> values;
  int cpus = 2;
  auto operator<=>(const Model&) const = default;
};

class Editor {
 public:
  explicit Editor(Desk& desk) : desk_(desk) { edit_to_disk(); }

  // Makes one edit, that may well change nothing, to the model and to the disk.
  void edit() {
    switch (random(9)) {
      case 0:
      case 1:
        model_.files[name()] = {false, false, word()};
        break;
      case 2:
        model_.files[name()] = {true, false, word()};
        break;
      case 3:
        model_.files.erase(name());
        break;
      case 4: {
        auto& file = model_.files[name()];
        if (!file.link) file.executable = !file.executable;
        break;
      }
      case 5:  // a file written again as it is
        written_again_ = name();
        break;
      case 6:
        model_.values["text"] = "\"" + word() + "\"";
        break;
      case 7:
        model_.values["texts"] = "[" + word() + ", " + word() + "]";
        break;
      default:
        model_.cpus = 1 + random(4);
        break;
    }
    edit_to_disk();
  }

  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] std::string profile() const {
    std::string options = "tree: tree";
    for (const auto& [name, value] : model_.values) options += fmt::format(", {}: {}", name, value);
    return "guest: {cpus: " + std::to_string(model_.cpus) + "}\nsteps: [{base_a: }, {change: {" + options +
           "}}, {boots: }]\n";
  }

 private:
  int random(int below) { return std::uniform_int_distribution<int>(0, below - 1)(random_); }
  std::string name() { return "d" + std::to_string(random(3)) + "/f" + std::to_string(random(4)); }
  std::string word() {
    const std::vector<std::string> words = {"a", "b", "ab", "a\\tb", "x y", "0", "Z"};
    return words[static_cast<std::size_t>(random(static_cast<int>(words.size())))];
  }

  void edit_to_disk() {
    const fs::path tree = desk_.path("tree");
    // The folders are always there: an empty one is an input of its own, and not what is edited here.
    for (const char* folder : {"d0", "d1", "d2"}) fs::create_directories(tree / folder);
    for (const auto& [path, file] : on_disk_) {
      const auto now = model_.files.find(path);
      if (now == model_.files.end() || now->second != file) fs::remove(tree / path);
    }
    for (const auto& [path, file] : model_.files) {
      const auto old = on_disk_.find(path);
      if (old != on_disk_.end() && old->second == file && path != written_again_) continue;
      if (file.link) {
        fs::remove(tree / path);
        fs::create_symlink(file.content, tree / path);
      } else {
        desk_.write("tree/" + path, file.content, file.executable);
      }
    }
    on_disk_ = model_.files;
    written_again_.clear();
  }

  Desk& desk_;
  Model model_;
  std::map<std::string, Model::File> on_disk_;
  std::string written_again_;
  std::mt19937 random_{20240229};
};

TEST_F(KeysTest, AThousandRandomEditsChangeTheKeyExactlyWhenTheInputChanged) {
  Editor editor(desk_);
  std::map<Model, std::string> key_of_model;
  std::map<std::string, Model> model_of_key;
  int changes = 0;
  Model last = editor.model();
  for (int i = 0; i < 1000; ++i) {
    editor.edit();
    const std::string key = keys(editor.profile()).back().key;
    const auto [by_model, new_model] = key_of_model.emplace(editor.model(), key);
    ASSERT_EQ(by_model->second, key) << "edit " << i << ": the same input, another key";
    const auto [by_key, new_key] = model_of_key.emplace(key, editor.model());
    ASSERT_TRUE(by_key->second == editor.model()) << "edit " << i << ": other input, the same key";
    changes += last == editor.model() ? 0 : 1;
    last = editor.model();
  }
  EXPECT_GT(changes, 500);
  EXPECT_LT(changes, 1000);
}

}  // namespace
}  // namespace kiln::plan
