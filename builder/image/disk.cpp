#include "image/disk.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/io_error.hpp"

namespace kiln::image {

namespace fs = std::filesystem;
using host::Command;
using nlohmann::json;

namespace {

constexpr std::uint64_t mib = 1ULL << 20U;
constexpr std::uint64_t sector = 512;

host::Fd open_file(const fs::path& file, int flags) {
  host::Fd fd(::open(file.c_str(), flags | O_CLOEXEC, 0644));
  if (!fd) throw host::io_error((flags & O_ACCMODE) == O_RDONLY ? "read" : "write", file, errno);
  return fd;
}

// What is there of `count` bytes at `offset`: shorter at the end of the file.
std::string bytes_at(const host::Fd& fd, const fs::path& file, std::uint64_t offset, std::size_t count) {
  std::string bytes(count, '\0');
  std::size_t have = 0;
  while (have < count) {
    const ssize_t got =
        ::pread(fd.get(), bytes.data() + have, count - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw host::io_error("read", file, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::string detect_format(const fs::path& image) {
  const std::string head = bytes_at(open_file(image, O_RDONLY), image, 0, 512);
  const std::string_view text = head;
  if (text.starts_with("QFI\xfb")) return "qcow2";
  if (text.starts_with("KDMV") || text.starts_with("# Disk DescriptorFile")) return "vmdk";
  if (text.starts_with("vhdxfile")) return "vhdx";
  if (text.starts_with("LUKS\xba\xbe")) return "luks";
  if (text.size() >= 0x44 && text.substr(0x40, 4) == "\x7f\x10\xda\xbe") return "vdi";
  return "raw";
}

json parse(const std::string& text, const std::string& program) {
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded())
    throw base::Error(program + " gave no JSON").detail(base::last_lines(base::printable(text), 5));
  return value;
}

// Unsigned little-endian number of `count` bytes.
std::uint64_t number_at(std::string_view bytes, std::size_t offset, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = count; i > 0; --i)
    value = (value << 8U) | static_cast<unsigned char>(bytes[offset + i - 1]);
  return value;
}

std::string label_at(std::string_view bytes, std::size_t offset, std::size_t count) {
  const std::string_view field = bytes.substr(offset, count);
  return std::string(field.substr(0, field.find('\0')));
}

}  // namespace

DiskInfo disk_info(const host::Host& host, const fs::path& image) {
  DiskInfo info;
  info.format = detect_format(image);
  Command command{"qemu-img", "info", "--output=json", "-U", "-f", info.format, image.string()};
  command.purpose = "reading the header of '" + image.string() + "'";
  const json told = parse(host::require(*host.runner, command).out, "qemu-img");
  info.virtual_size = told.value("virtual-size", std::uint64_t{0});
  info.actual_size = told.value("actual-size", std::uint64_t{0});
  info.backing = told.value("backing-filename", std::string{});
  info.encrypted = told.value("encrypted", false);
  const json specific = told.value("format-specific", json::object()).value("data", json::object());
  info.data_file = specific.value("data-file", std::string{});
  return info;
}

bool can_boot(const fs::path& file) {
  if (detect_format(file) != "raw") return true;
  const std::string first = bytes_at(open_file(file, O_RDONLY), file, 0, sector);
  return first.size() == sector && first.ends_with("\x55\xaa");
}

void require_self_contained(const DiskInfo& info, const std::string& name) {
  std::string why;
  if (info.format != "qcow2" && info.format != "raw")
    why = fmt::format("is a {} image: kiln reads qcow2 and raw", info.format);
  else if (!info.backing.empty())
    why = fmt::format("needs a backing file ('{}')", base::printable(info.backing.string()));
  else if (!info.data_file.empty())
    why = fmt::format("needs an external data file ('{}')", base::printable(info.data_file.string()));
  else if (info.encrypted)
    why = "is encrypted";
  if (why.empty()) return;
  throw base::Error(name + " " + why, base::Exit::usage)
      .hint("make a plain qcow2 of it with `qemu-img convert -O qcow2`");
}

void make_overlay(const host::Host& host, const fs::path& overlay, const std::string& backing,
                  std::uint64_t size) {
  Command command{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing};
  // With a size the backing file is not opened: it need not be in place yet.
  if (size != 0) command.add({"-u"});
  command.add({overlay.string()});
  if (size != 0) command.add({std::to_string(size)});
  command.purpose = "making the overlay '" + overlay.string() + "'";
  host::require(*host.runner, command);
}

void convert(const host::Host& host, const fs::path& from, const fs::path& to, const std::string& format,
             bool compress) {
  Command command{"qemu-img", "convert", "-f", detect_format(from), "-O", format};
  // Many coroutines, out of order: three times as fast, and the content is the same.
  command.add({"-W", "-m", "16"});
  if (compress)
    command.add({"-c", "-o", format == "vmdk" ? "subformat=streamOptimized" : "compression_type=zstd"});
  command.add({from.string(), to.string()});
  command.purpose = "writing '" + to.string() + "'";
  host::require(*host.runner, command);
}

void require_same_content(const host::Host& host, const fs::path& raw, const fs::path& copy,
                          const std::string& format) {
  Command command{"qemu-img", "compare", "-q", "-f", "raw", "-F", format, raw.string(), copy.string()};
  command.purpose = "comparing '" + copy.string() + "' with the disk it was made of";
  host::require(*host.runner, command);
}

void check_image(const host::Host& host, const fs::path& image) {
  const std::string format = detect_format(image);
  if (format == "raw") return;
  Command command{"qemu-img", "check", "-q", "-U", "-f", format, image.string()};
  command.purpose = "checking '" + image.string() + "'";
  const host::Finished finished = host.runner->run(command);
  constexpr int only_leaks = 3;  // qemu-img(1)
  if (finished.ok() || finished.exit == only_leaks) return;
  throw base::Error(fmt::format("the disk '{}' is damaged", image.string()))
      .hint("look for errors of the disk in the host's kernel log, then build again")
      .detail(base::last_lines(base::printable(finished.err + finished.out), 10));
}

PartitionTable partitions(const host::Host& host, const fs::path& raw) {
  Command command{"sfdisk", "--json", raw.string()};
  command.env["LC_ALL"] = "C";
  command.purpose = "reading the partition table of '" + raw.string() + "'";
  const host::Finished finished = host.runner->run(command);
  PartitionTable table;
  if (!finished.ok() &&
      finished.err.find("does not contain a recognized partition table") != std::string::npos)
    return table;
  if (!finished.ok()) {
    throw base::Error(command.purpose + " failed: " + finished.how())
        .detail(base::last_lines(base::printable(finished.err), 30));
  }
  const json told = parse(finished.out, "sfdisk").value("partitiontable", json::object());
  table.label = told.value("label", std::string{});
  const std::uint64_t unit = told.value("sectorsize", sector);
  for (const json& entry : told.value("partitions", json::array())) {
    Partition partition;
    // The node is the file's name and the number, with a 'p' between when the name ends in a digit.
    const std::string node = entry.value("node", std::string{});
    const std::size_t digits = node.find_last_not_of("0123456789") + 1;
    std::size_t begin = digits;
    if (node.starts_with(raw.string())) begin = std::max(digits, raw.string().size());
    partition.number =
        std::atoi(node.c_str() + begin);  // NOLINT(bugprone-unchecked-string-to-number-conversion)
    partition.start = entry.value("start", std::uint64_t{0}) * unit;
    partition.size = entry.value("size", std::uint64_t{0}) * unit;
    partition.type = entry.value("type", std::string{});
    table.partitions.push_back(std::move(partition));
  }
  std::sort(table.partitions.begin(), table.partitions.end(),
            [](const Partition& a, const Partition& b) { return a.start < b.start; });
  return table;
}

std::optional<FileSystem> find_file_system(const fs::path& raw, std::uint64_t start, std::uint64_t size) {
  const host::Fd fd = open_file(raw, O_RDONLY);
  FileSystem found;
  found.start = start;
  found.size = size;
  const std::string head = bytes_at(fd, raw, start, 2048);
  if (head.size() == 2048 && number_at(head, 1024 + 56, 2) == 0xEF53) {
    found.kind = "ext4";
    found.label = label_at(head, 1024 + 120, 16);
    return found;
  }
  if (head.starts_with("XFSB")) {
    found.kind = "xfs";
    found.label = label_at(head, 108, 12);
    return found;
  }
  const std::string super = bytes_at(fd, raw, start + 0x10000, 0x400);
  if (super.size() == 0x400 && super.substr(0x40, 8) == "_BHRfS_M") {
    found.kind = "btrfs";
    found.label = label_at(super, 0x12b, 0x100);
    return found;
  }
  return std::nullopt;
}

FileSystem root_file_system(const host::Host& host, const fs::path& raw) {
  const PartitionTable table = partitions(host, raw);
  std::vector<FileSystem> all;
  std::string seen;
  for (const Partition& partition : table.partitions) {
    auto found = find_file_system(raw, partition.start, partition.size);
    seen += fmt::format(
        "\npartition {}: {}, {}", partition.number, base::human_size(partition.size),
        found ? found->kind + " '" + base::printable(found->label) + "'" : "no Linux file system");
    if (!found) continue;
    found->partition = partition.number;
    all.push_back(*found);
  }
  if (table.label.empty()) {
    std::error_code none;
    if (auto whole = find_file_system(raw, 0, fs::file_size(raw, none))) all.push_back(*whole);
  }
  std::vector<FileSystem> labelled;
  std::copy_if(all.begin(), all.end(), std::back_inserter(labelled),
               [](const FileSystem& one) { return one.label == root_label; });
  if (labelled.size() == 1) return labelled.front();
  if (labelled.empty() && all.size() == 1) return all.front();
  const std::string what = labelled.size() > 1 ? "more than one file system is" : "no file system is";
  throw base::Error(
      fmt::format("cannot tell the root file system of '{}': {} labelled {}", raw.string(), what, root_label))
      .hint("give the root file system that label")
      .detail(seen.empty() ? "no partition table and no Linux file system" : seen.substr(1));
}

// ---- Resizing

namespace {

// Copies `size` bytes between files; holes of the source stay holes, so `to` must have none of its own there.
void copy_range(const fs::path& from, std::uint64_t from_offset, const fs::path& to, std::uint64_t to_offset,
                std::uint64_t size) {
  const host::Fd in = open_file(from, O_RDONLY);
  const host::Fd out = open_file(to, O_WRONLY | O_CREAT);
  std::vector<char> buffer(std::size_t{4} * mib);
  std::uint64_t done = 0;
  while (done < size) {
    const off_t data = ::lseek(in.get(), static_cast<off_t>(from_offset + done), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;  // a hole to the end
    if (data < 0) throw host::io_error("read", from, errno);
    const off_t hole = ::lseek(in.get(), data, SEEK_HOLE);
    if (hole < 0) throw host::io_error("read", from, errno);
    done = static_cast<std::uint64_t>(data) - from_offset;
    const std::uint64_t end = std::min(size, static_cast<std::uint64_t>(hole) - from_offset);
    while (done < end) {
      host::check_interrupt();
      const std::size_t wanted = std::min<std::size_t>(buffer.size(), end - done);
      const ssize_t got = ::pread(in.get(), buffer.data(), wanted, static_cast<off_t>(from_offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw host::io_error("read", from, errno);
      if (got == 0) return;
      std::size_t put = 0;
      while (put < static_cast<std::size_t>(got)) {
        const ssize_t wrote = ::pwrite(out.get(), buffer.data() + put, static_cast<std::size_t>(got) - put,
                                       static_cast<off_t>(to_offset + done + put));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) throw host::io_error("write", to, errno);
        put += static_cast<std::size_t>(wrote);
      }
      done += static_cast<std::uint64_t>(got);
    }
  }
}

void truncate_to(const fs::path& file, std::uint64_t size) {
  if (::truncate(file.c_str(), static_cast<off_t>(size)) != 0) throw host::io_error("resize", file, errno);
}

// Takes `bytes` off the front of a file or puts as many zeros there, without a copy of what is behind, though
// that is written to the disk first (fallocate(2): FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE). False
// where the file system cannot: ext4 and XFS can, in whole blocks.
bool shift_front(const fs::path& file, int how, std::uint64_t bytes) {
  if (bytes == 0) return true;
  const host::Fd fd = open_file(file, O_RDWR);
  while (::fallocate(fd.get(), how, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno == EOPNOTSUPP || errno == EINVAL) return false;
    if (errno != EINTR) throw host::io_error("write", file, errno);
    host::check_interrupt();
  }
  return true;
}

// The root partition of a raw disk as a file of its own, for resize2fs: it knows "?offset=", but then cuts
// the file as if the file system began at 0. Where it can be done the disk itself becomes that file and back:
// two copies of a whole disk were most of what fitting it took.
class PartitionFile {
 public:
  explicit PartitionFile(fs::path raw) : raw_(std::move(raw)) {
    part_ += ".part";
    head_ += ".head";
    remove();
  }
  ~PartitionFile() { remove(); }
  PartitionFile(const PartitionFile&) = delete;
  PartitionFile& operator=(const PartitionFile&) = delete;

  [[nodiscard]] const fs::path& path() const { return part_; }

  // From now on the disk is gone until put_back().
  void take_out(std::uint64_t start, std::uint64_t size) {
    start_ = start;
    copy_range(raw_, 0, head_, 0, start);
    moved_ = shift_front(raw_, FALLOC_FL_COLLAPSE_RANGE, start);
    if (moved_)
      fs::rename(raw_, part_);
    else
      copy_range(raw_, start, part_, 0, size);
    truncate_to(part_, size);
  }

  // The partition, now of `size` bytes, in a disk of `disk` bytes; behind it are zeros.
  void put_back(std::uint64_t size, std::uint64_t disk) {
    truncate_to(part_, size);
    if (moved_ && shift_front(part_, FALLOC_FL_INSERT_RANGE, start_)) {
      copy_range(head_, 0, part_, 0, start_);
      fs::rename(part_, raw_);
      truncate_to(raw_, disk);
      return;
    }
    // Cutting first makes a hole of all that was the root partition.
    if (!moved_) truncate_to(raw_, 0);
    copy_range(head_, 0, raw_, 0, start_);
    truncate_to(raw_, disk);
    copy_range(part_, 0, raw_, start_, size);
  }

 private:
  void remove() const {
    std::error_code ignored;
    fs::remove(part_, ignored);
    fs::remove(head_, ignored);
  }

  fs::path raw_;
  fs::path part_ = raw_;
  fs::path head_ = raw_;  // what is before the partition
  std::uint64_t start_ = 0;
  bool moved_ = false;  // the disk itself is the partition now
};

// The time e2fsprogs is to take for now: when the ext4 that begins at `start` of `part` was last mounted or
// written to. Else two exports of one image would differ by the moment they were made (s_mtime, s_wtime and
// their high bytes, ext4.h).
std::map<std::string, std::string> its_own_time(const fs::path& part, std::uint64_t start = 0) {
  const host::Fd fd = open_file(part, O_RDONLY);
  const std::string super = bytes_at(fd, part, start + 1024, 1024);
  const auto mounted = number_at(super, 44, 4) | number_at(super, 0x275, 1) << 32U;
  const auto written = number_at(super, 48, 4) | number_at(super, 0x274, 1) << 32U;
  const auto time = std::to_string(std::max(mounted, written));
  return {{"E2FSCK_TIME", time}, {"E2FSPROGS_FAKE_TIME", time}};
}

// e2fsck's 1 (errors corrected) is fine: the file system was cut from a running machine or never checked.
void check_ext4(const host::Host& host, const fs::path& part,
                const std::map<std::string, std::string>& time) {
  Command command{"e2fsck", "-fy", "-E", "discard", part.string()};
  command.env.insert(time.begin(), time.end());
  command.purpose = "checking the root file system";
  const host::Finished finished = host.runner->run(command);
  if (finished.signal == 0 && (finished.exit == 0 || finished.exit == 1)) return;
  throw base::Error("the root file system is damaged: e2fsck ended with " + finished.how())
      .detail(base::last_lines(base::printable(finished.out + finished.err), 30));
}

struct Geometry {
  std::uint64_t block = 0;    // bytes
  std::uint64_t blocks = 0;   // in all
  std::uint64_t minimum = 0;  // blocks resize2fs says it needs
};

Geometry geometry_of(const host::Host& host, const fs::path& part) {
  const host::Fd fd = open_file(part, O_RDONLY);
  const std::string super = bytes_at(fd, part, 1024, 1024);
  Geometry geometry;
  geometry.block = 1024ULL << number_at(super, 24, 4);
  geometry.blocks = number_at(super, 4, 4);
  if ((number_at(super, 96, 4) & 0x80U) != 0) geometry.blocks |= number_at(super, 0x150, 4) << 32U;
  Command command{"resize2fs", "-P", part.string()};
  command.env["LC_ALL"] = "C";
  command.purpose = "measuring the root file system";
  const std::string told = host::require(*host.runner, command).out;
  const std::size_t colon = told.rfind(':');
  if (colon != std::string::npos) geometry.minimum = std::strtoull(told.c_str() + colon + 1, nullptr, 10);
  if (geometry.minimum == 0)
    throw base::Error("resize2fs did not say how small the file system can be").detail(base::printable(told));
  return geometry;
}

// Rewrites the table with the root partition's new size; all else, ids included, stays. sfdisk puts GPT's
// second header at the end of the file.
void rewrite_table(const host::Host& host, const fs::path& raw, const FileSystem& root, std::uint64_t size,
                   const std::string& dump) {
  std::string script;
  for (const std::string& line : base::lines(dump)) {
    // The script's header names sizes of the old disk: the new end is to be used.
    if (line.starts_with("last-lba:") || line.starts_with("device:")) continue;
    const std::size_t colon = line.rfind(" : ");
    if (colon == std::string::npos) {
      script += line + "\n";
      continue;
    }
    const std::string fields = line.substr(colon + 3);
    std::string changed;
    bool is_root = false;
    for (const std::string& field : base::split(fields, ',')) {
      const std::string_view trimmed = base::trim(field);
      if (trimmed.starts_with("start=") &&
          std::strtoull(std::string(base::trim(trimmed.substr(6))).c_str(), nullptr, 10) * sector ==
              root.start)
        is_root = true;
    }
    for (const std::string& field : base::split(fields, ',')) {
      std::string_view trimmed = base::trim(field);
      if (!changed.empty()) changed += ", ";
      changed += is_root && trimmed.starts_with("size=") ? fmt::format("size={}", size / sector)
                                                         : std::string(trimmed);
    }
    // Numbered by place in the dump's device names; sfdisk takes "NUMBER : fields".
    const std::string node = line.substr(0, colon);
    const std::size_t digits = node.find_last_not_of("0123456789 ") + 1;
    script += std::string(base::trim(node.substr(digits))) + " : " + changed + "\n";
  }
  Command command{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", raw.string()};
  command.input = script;
  command.purpose = "writing the partition table of '" + raw.string() + "'";
  host::require(*host.runner, command);
}

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace

std::uint64_t roomy_size(std::uint64_t start, std::uint64_t used) {
  const std::uint64_t room = std::max<std::uint64_t>(used / 4, 512 * mib);
  return round_up(start + used + room + mib, 64 * mib);
}

std::uint64_t resize_disk(const host::Host& host, const fs::path& raw, std::uint64_t size) {
  const FileSystem root = root_file_system(host, raw);
  if (root.kind != "ext4") {
    throw base::Error(
        fmt::format("the root file system is {}: only ext2, ext3 and ext4 can be resized", root.kind))
        .hint("leave the size out");
  }
  const PartitionTable table = partitions(host, raw);
  if (root.partition != 0 && table.partitions.back().start != root.start) {
    throw base::Error(
        fmt::format("partition {} lies behind the root partition, which therefore cannot change size",
                    table.partitions.back().number));
  }
  if (!table.partitions.empty() && root.partition > 4 && table.label == "dos")
    throw base::Error("the root file system is on a logical partition, which cannot change size");

  std::string dump;
  if (root.partition != 0) {
    Command command{"sfdisk", "--dump", raw.string()};
    command.purpose = "reading the partition table of '" + raw.string() + "'";
    dump = host::require(*host.runner, command).out;
  }
  const std::uint64_t old_size = fs::file_size(raw);
  PartitionFile file(raw);
  const fs::path& part = file.path();
  file.take_out(root.start, root.size);
  const auto time = its_own_time(part);
  check_ext4(host, part, time);
  const Geometry geometry = geometry_of(host, part);

  // Room behind the partition: GPT's second table (33 sectors), up to a whole MiB.
  const std::uint64_t tail = table.label == "gpt" ? mib : 0;
  const std::uint64_t need = geometry.minimum * geometry.block;
  const auto finish = [&](std::uint64_t partition, std::uint64_t disk) {
    file.put_back(partition, disk);
    if (root.partition != 0) rewrite_table(host, raw, root, partition, dump);
  };
  const std::uint64_t target = size == 0 ? roomy_size(root.start, need) : size / mib * mib;
  if (target < root.start + tail + need) {
    finish(root.size, old_size);
    throw base::Error(
        fmt::format("the content needs a disk of at least {}, more than the size of {} that was asked for",
                    base::human_size(round_up(root.start + tail + need, mib)), base::human_size(size)))
        .hint("raise 'size:', or leave it out");
  }
  const std::uint64_t new_size = target - tail - root.start;
  const std::uint64_t blocks = new_size / geometry.block;
  if (blocks != geometry.blocks) {
    if (new_size > root.size) truncate_to(part, new_size);
    Command command{"resize2fs", part.string(), std::to_string(blocks)};
    command.env.insert(time.begin(), time.end());
    command.purpose = "resizing the root file system";
    host::require(*host.runner, command);
  }
  finish(new_size, target);
  return target;
}

std::string copy_to_fit(const host::Host& host, const fs::path& image, const fs::path& raw,
                        std::uint64_t size, const std::function<void(std::string_view)>& on_doing) {
  on_doing("reading the disk");
  convert(host, image, raw, "raw", false);
  const FileSystem root = root_file_system(host, raw);
  if (root.kind != "ext4" && size == 0)
    return fmt::format("the root file system is {}, so the disk keeps its size", root.kind);
  on_doing("fitting the root file system");
  return fmt::format("the disk has {}", base::human_size(resize_disk(host, raw, size)));
}

void write_private(const host::Host& host, const fs::path& raw, const std::string& path,
                   const std::string& content) {
  const FileSystem root = root_file_system(host, raw);
  if (root.kind != "ext4")
    throw base::Error(fmt::format("the root file system is {}: kiln writes into ext4 only", root.kind));
  const std::string place = fmt::format("{}?offset={}", raw.string(), root.start);
  // debugfs ends with 0 whatever happens, so that what it did is looked at afterwards.
  fs::path script = raw;
  fs::path file = raw;
  script += ".debugfs";
  file += ".private";
  const base::ScopeExit drop([&] {
    std::error_code ignored;
    fs::remove(script, ignored);
    fs::remove(file, ignored);
  });
  host::write_file(file, content, 0600);
  std::string folder;
  std::string commands;
  for (const auto& part : fs::path(path).parent_path().relative_path()) {
    folder += "/" + part.string();
    commands += fmt::format("mkdir {}\n", folder);
  }
  const std::string name = fs::path(path).filename().string();
  commands += fmt::format("cd {0}/\nrm {1}\nwrite \"{2}\" {1}\n", folder, name, file.string());
  for (const char* field : {"mode 0100600", "uid 0", "gid 0"})
    commands += fmt::format("sif {} {}\n", name, field);
  host::write_file(script, commands, 0600);
  Command write{"debugfs", "-w", "-f", script.string(), place};
  const auto time = its_own_time(raw, root.start);
  write.env.insert(time.begin(), time.end());
  write.purpose = fmt::format("writing {} into the disk", path);
  host::require(*host.runner, write);

  Command read{"debugfs", "-R", "cat " + path, place};
  read.purpose = fmt::format("reading {} back", path);
  Command stat{"debugfs", "-R", "stat " + path, place};
  stat.env["LC_ALL"] = "C";
  stat.purpose = read.purpose;
  const std::string told = host::require(*host.runner, stat).out;
  const host::Finished back = host.runner->run(read);  // not required(): its output is no text for an error
  if (!back.ok() || back.out != content || told.find("Mode:  0600") == std::string::npos)
    throw base::Error(fmt::format("{} could not be written into the disk", path))
        .detail(base::last_lines(base::printable(told), 5));
}

}  // namespace kiln::image
