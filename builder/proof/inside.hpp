// The checks inside the guest: one POSIX sh script that asks for all of them at once, for a login costs two
// seconds under TCG, and the reading of its answers.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "proof/verdict.hpp"

namespace kiln::proof {

// To be run as root. Waits for cloud-init and systemd first, at most `limit` seconds each. Every value of the
// profile is quoted; every answer is one line, "kiln-answer KEY =WORD ...", words in base64.
std::string inside_script(const profile::Proof& proof, long limit);

// Answers by key ("unit-0", "file-2"), their words decoded. Lines that are no answer are ignored.
std::map<std::string, std::vector<std::string>> read_answers(const std::string& output);

// What the answers mean. A check without an answer has not run, for the reason `missing`.
std::vector<CheckResult> judge(const profile::Proof& proof,
                               const std::map<std::string, std::vector<std::string>>& answers,
                               const std::string& missing);

// Names of checks, for those that cannot be run at all.
std::string port_name(const profile::PortCheck& check);
bool has_inside_checks(const profile::Proof& proof);

}  // namespace kiln::proof
