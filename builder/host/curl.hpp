// What all transfers by libcurl have in common. For host/ itself.
#pragma once

#include <array>
#include <curl/curl.h>
#include <memory>
#include <string>

namespace kiln::host {

using CurlHandle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using CurlMessage = std::array<char, CURL_ERROR_SIZE>;

// A handle for `url` that ends when a signal has come (CURLE_ABORTED_BY_CALLBACK); `message`, which has to
// outlive it, gets the cause of a failure. Throws base::Error, Exit::missing.
CurlHandle new_curl(const std::string& url, CurlMessage& message);
// The cause for people.
std::string curl_cause(CURLcode code, const CurlMessage& message);

// Header lines and the like.
class CurlList {
 public:
  void add(const std::string& text);
  [[nodiscard]] curl_slist* get() const { return list_.get(); }

 private:
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> list_{nullptr, &curl_slist_free_all};
};

}  // namespace kiln::host
