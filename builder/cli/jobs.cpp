#include "cli/jobs.hpp"

#include <algorithm>
#include <utility>

#include "base/size.hpp"
#include "base/text.hpp"

namespace kiln::cli {
namespace {

// Of the memory that is free; the rest is for kiln, its tools and the page cache.
constexpr double kForGuests = 0.8;

class BuildObserver final : public stage::Observer {
 public:
  BuildObserver(Progress& all, std::mutex& mutex, std::string build)
      : all_(all), mutex_(mutex), build_(std::move(build)) {}

  void step_begins(std::string_view id, std::string_view text) override {
    step_ = id;
    turn()->step_begins(id, text);
  }
  void step_ends(std::string_view id, How how, double seconds, std::string_view note) override {
    turn()->step_ends(id, how, seconds, note);
    step_.clear();
  }
  void doing(std::string_view what) override { turn()->doing(what); }
  void output(std::string_view line) override { turn()->output(line); }
  void note(std::string_view text) override { turn()->note(text); }
  void warn(std::string_view text) override { turn()->warn(text); }
  void bytes(std::string_view what, std::uint64_t done, std::uint64_t total) override {
    turn()->bytes(what, done, total);
  }

 private:
  // Holds the lock for one call.
  class Turn {
   public:
    Turn(Progress& all, std::mutex& mutex) : guard_(mutex), all_(all) {}
    Progress* operator->() { return &all_; }

   private:
    std::unique_lock<std::mutex> guard_;
    Progress& all_;
  };
  Turn turn() {
    Turn turn(all_, mutex_);
    turn->turn_to(build_, step_);
    return turn;
  }

  Progress& all_;
  std::mutex& mutex_;
  std::string build_, step_;
};

}  // namespace

std::size_t jobs_for(std::size_t builds, std::size_t wanted, unsigned cores, std::uint64_t memory,
                     std::uint64_t guest) {
  std::size_t jobs = wanted > 0 ? wanted : std::max(1U, cores / 2);
  if (memory > 0 && guest > 0)
    jobs = std::min(jobs, static_cast<std::size_t>(static_cast<double>(memory) * kForGuests /
                                                   static_cast<double>(guest)));
  return std::clamp<std::size_t>(jobs, 1, std::max<std::size_t>(builds, 1));
}

std::uint64_t available_memory(const std::string& text) {
  constexpr std::string_view name = "MemAvailable:";
  for (const auto& line : base::lines(text)) {
    if (!line.starts_with(name)) continue;
    std::string kilobytes(base::trim(std::string_view(line).substr(name.size())));
    if (kilobytes.ends_with(" kB")) kilobytes.resize(kilobytes.size() - 3);
    return base::parse_size(kilobytes + "K").value_or(0);
  }
  return 0;
}

std::unique_ptr<stage::Observer> observer_of(Progress& all, std::mutex& mutex, std::string build) {
  return std::make_unique<BuildObserver>(all, mutex, std::move(build));
}

}  // namespace kiln::cli
