#include "base/side_by_side.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.hpp"

namespace kiln::base {
namespace {

[[noreturn]] void rethrow(const std::vector<std::exception_ptr>& failures) {
  if (failures.size() == 1) std::rethrow_exception(failures.front());  // with all its trail
  std::vector<Error> errors;
  for (const auto& failure : failures) {
    try {
      std::rethrow_exception(failure);
    } catch (const Errors& several) {
      errors.insert(errors.end(), several.all().begin(), several.all().end());
    } catch (const Error& error) {
      if (error.exit() == Exit::interrupted || error.exit() == Exit::terminated) throw;
      errors.push_back(error);
    } catch (const std::exception& failed) {
      errors.emplace_back(failed.what());
    }
  }
  if (errors.size() == 1) throw errors.front();
  throw Errors(std::move(errors));
}

}  // namespace

bool side_by_side(const std::vector<std::function<bool()>>& deeds, std::size_t jobs) {
  std::mutex mutex;  // of all below
  std::size_t next = 0;
  bool ok = true;
  std::vector<std::exception_ptr> failures;
  const auto work = [&] {
    for (;;) {
      std::size_t mine = 0;
      {
        const std::lock_guard guard(mutex);
        if (!ok || next == deeds.size()) return;
        mine = next++;
      }
      bool fine = false;
      std::exception_ptr failure;
      try {
        fine = deeds[mine]();
      } catch (...) {
        failure = std::current_exception();
      }
      const std::lock_guard guard(mutex);
      ok = ok && fine;
      if (failure) failures.push_back(failure);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < std::min(jobs, deeds.size()); ++i) threads.emplace_back(work);
  }
  if (!failures.empty()) rethrow(failures);
  return ok;
}

}  // namespace kiln::base
