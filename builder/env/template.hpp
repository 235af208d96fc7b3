// The text that a new environment is made from: Mustache, by kainjow's engine, which lives only here.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace kiln::env {

// What `kiln env create` takes without --template.
std::string_view default_template();
// `text` with its variables filled in as they are, nothing escaped. {{#indentN}}...{{/indentN}} puts N spaces
// before each line of what is in it. Any other tag than these, comments and the
// variables in `values` is an error, as is a section not closed: base::Error (Exit::usage), `name` its file.
std::string render_template(std::string_view text, const std::string& name,
                            const std::map<std::string, std::string>& values);

}  // namespace kiln::env
