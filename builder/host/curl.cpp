#include "host/curl.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/host.hpp"

namespace kiln::host {

namespace {

extern "C" {

static int on_wait(void* /*user*/, curl_off_t /*total*/, curl_off_t /*now*/, curl_off_t /*up*/,
                   curl_off_t /*up_now*/) {
  return pending_signal() != 0 ? 1 : 0;
}

}  // extern "C"

}  // namespace

CurlHandle new_curl(const std::string& url, CurlMessage& message) {
  static const CURLcode ready = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  CurlHandle handle(::curl_easy_init(), &curl_easy_cleanup);
  if (ready != CURLE_OK || !handle)
    throw base::Error("libcurl cannot be used on this machine", base::Exit::missing);
  CURL* const curl = handle.get();
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_wait);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message.data());
  return handle;
}

std::string curl_cause(CURLcode code, const CurlMessage& message) {
  return base::printable(message[0] != '\0' ? message.data() : ::curl_easy_strerror(code));
}

void CurlList::add(const std::string& text) {
  curl_slist* const longer = ::curl_slist_append(list_.get(), text.c_str());
  if (longer == nullptr) throw base::Error("no memory for a transfer");
  if (!list_) list_.reset(longer);  // else it is the head that there was
}

}  // namespace kiln::host
