#include "host/archive.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <memory>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

using Writer = std::unique_ptr<archive, decltype(&archive_write_free)>;
using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;
using Entry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

std::string cause(archive* handle) {
  const char* text = archive_error_string(handle);
  return text == nullptr ? "unknown error" : base::printable(text);
}

// The path without "./" in front and '/' behind; "" for the root itself, nullopt when it leaves the archive.
std::optional<std::string> safe_path(std::string_view path) {
  if (path.empty() || path.front() == '/') return std::nullopt;
  std::string safe;
  for (const std::string& part : base::split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return std::nullopt;
    if (!safe.empty()) safe += '/';
    safe += part;
  }
  return safe;
}

std::optional<std::int64_t> number(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

void check(archive* handle, int result, const fs::path& to, const std::string& deed) {
  if (result >= ARCHIVE_WARN) return;
  throw base::Error("cannot " + deed + " '" + to.string() + "': " + cause(handle));
}

void set_owner(archive_entry* entry, const Member& member, Format format, bool group) {
  const std::string& name = group ? member.group : member.owner;
  const std::optional<std::int64_t> id = name == "root" ? 0 : number(name);
  if (!id && format != Format::tar) {
    throw base::Error("'" + member.path + "' belongs to '" + name +
                      "', but this kind of archive has numbers only");
  }
  const bool named = !number(name).has_value();
  if (group) {
    archive_entry_set_gid(entry, id.value_or(0));
    if (named) archive_entry_set_gname(entry, name.c_str());
  } else {
    archive_entry_set_uid(entry, id.value_or(0));
    if (named) archive_entry_set_uname(entry, name.c_str());
  }
}

void write_data(archive* handle, std::string_view bytes, const fs::path& to) {
  while (!bytes.empty()) {
    check_interrupt();
    const la_ssize_t count = archive_write_data(handle, bytes.data(), bytes.size());
    if (count <= 0) check(handle, ARCHIVE_FATAL, to, "write");
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void write_member(archive* handle, const Member& member, std::int64_t inode, Format format,
                  const fs::path& to) {
  const std::optional<std::string> path = safe_path(member.path);
  if (!path || path->empty())
    throw base::Error("'" + member.path + "' cannot be the path of an archive's member");
  const Entry entry(archive_entry_new(), &archive_entry_free);
  archive_entry_set_pathname(entry.get(), path->c_str());
  archive_entry_set_perm(entry.get(), member.mode & 07777U);
  archive_entry_set_mtime(entry.get(), member.mtime, 0);
  archive_entry_set_ino64(entry.get(), inode);
  archive_entry_set_nlink(entry.get(), 1);
  set_owner(entry.get(), member, format, false);
  set_owner(entry.get(), member, format, true);
  switch (member.kind) {
    case 'd':
      archive_entry_set_filetype(entry.get(), AE_IFDIR);
      break;
    case 'l':
      archive_entry_set_filetype(entry.get(), AE_IFLNK);
      archive_entry_set_symlink(entry.get(), member.target.c_str());
      break;
    case 'f':
      archive_entry_set_filetype(entry.get(), AE_IFREG);
      break;
    default:
      throw base::Error("'" + member.path + "': only files, directories and links are written");
  }

  Fd source;
  std::int64_t size = static_cast<std::int64_t>(member.content.size());
  if (member.kind == 'f' && !member.source.empty()) {
    source = Fd(::open(member.source.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!source || ::fstat(source.get(), &status) != 0) throw io_error("read", member.source, errno);
    if (!S_ISREG(status.st_mode)) throw base::Error("'" + member.source.string() + "' is not a regular file");
    size = status.st_size;
  }
  archive_entry_set_size(entry.get(), member.kind == 'f' ? size : 0);
  check(handle, archive_write_header(handle, entry.get()), to, "write");
  if (member.kind != 'f') return;
  if (!source) {
    write_data(handle, member.content, to);
    return;
  }
  std::vector<char> buffer(std::size_t{1} << 18U);
  while (size > 0) {
    const std::size_t wanted = std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(size));
    const ssize_t count = ::read(source.get(), buffer.data(), wanted);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("read", member.source, errno);
    if (count == 0)
      throw base::Error("'" + member.source.string() + "' became shorter while it was archived");
    write_data(handle, {buffer.data(), static_cast<std::size_t>(count)}, to);
    size -= count;
  }
}

// `open` takes the bytes; `to` is what errors call the archive.
void write_members(Format format, const std::vector<Member>& members, const std::string& label,
                   const fs::path& to, const std::function<int(archive*)>& open) {
  const Writer writer(archive_write_new(), &archive_write_free);
  archive* const handle = writer.get();
  int result = ARCHIVE_OK;
  switch (format) {
    // GNU's rather than pax: names are bytes, whatever the locale, and no member carries extra records.
    case Format::tar:
      result = archive_write_set_format_gnutar(handle);
      break;
    case Format::cpio_newc:
      result = archive_write_set_format_cpio_newc(handle);
      break;
    case Format::iso9660:
      result = archive_write_set_format_iso9660(handle);
      break;
  }
  check(handle, result, to, "write");
  if (format == Format::iso9660) {
    if (!label.empty()) {
      check(handle, archive_write_set_format_option(handle, "iso9660", "volume-id", label.c_str()), to,
            "label");
    }
    check(handle, archive_write_set_format_option(handle, "iso9660", "joliet", "1"), to, "write");
    check(handle, archive_write_set_format_option(handle, "iso9660", "rockridge", "1"), to, "write");
  }
  check(handle, open(handle), to, "write");
  std::int64_t inode = 0;
  for (const Member& member : members) write_member(handle, member, ++inode, format, to);
  check(handle, archive_write_close(handle), to, "write");
}

}  // namespace

void write_archive(const fs::path& to, Format format, const std::vector<Member>& members,
                   const std::string& label) {
  write_beside(to, 0644, [&](int fd) {
    write_members(format, members, label, to,
                  [&](archive* handle) { return archive_write_open_fd(handle, fd); });
  });
}

std::string tar_in_memory(const std::vector<Member>& members) {
  std::string bytes;
  const auto take = [](archive* /*handle*/, void* into, const void* data, std::size_t size) {
    static_cast<std::string*>(into)->append(static_cast<const char*>(data), size);
    return static_cast<la_ssize_t>(size);
  };
  write_members(Format::tar, members, {}, "an archive in memory", [&](archive* handle) {
    return archive_write_open2(handle, &bytes, nullptr, take, nullptr, nullptr);
  });
  return bytes;
}

namespace {

// Of the entry that `handle` is at; `damaged` makes the error.
Content content_of(archive* handle, const std::function<base::Error()>& damaged) {
  constexpr std::size_t piece = std::size_t{1} << 18U;
  return Content([handle, damaged, buffer = std::vector<char>()]() mutable -> std::string_view {
    buffer.resize(piece);
    while (true) {
      check_interrupt();
      const la_ssize_t count = archive_read_data(handle, buffer.data(), buffer.size());
      if (count == ARCHIVE_RETRY) continue;
      if (count < 0) throw damaged();
      return {buffer.data(), static_cast<std::size_t>(count)};
    }
  });
}

// `open` gives the archive its bytes; `name` is what errors call it.
void read_members(const std::string& name, const std::function<int(archive*)>& open, const EachMember& each) {
  const Reader reader(archive_read_new(), &archive_read_free);
  archive* const handle = reader.get();
  // Named one by one: "all" has formats that read other files (mtree) and filters that run programs.
  archive_read_support_format_tar(handle);
  archive_read_support_format_cpio(handle);
  archive_read_support_format_zip(handle);
  archive_read_support_format_ar(handle);
  archive_read_support_format_iso9660(handle);
  archive_read_support_filter_gzip(handle);
  archive_read_support_filter_bzip2(handle);
  archive_read_support_filter_xz(handle);
  archive_read_support_filter_lz4(handle);
  archive_read_support_filter_zstd(handle);
  const auto damaged = [&] {
    return base::Error("'" + name + "' is not an archive that can be read: " + cause(handle))
        .hint("it may be damaged or cut short; fetch or make it again");
  };
  if (open(handle) != ARCHIVE_OK) throw damaged();

  while (true) {
    check_interrupt();
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(handle, &entry);
    if (result == ARCHIVE_EOF) return;
    if (result < ARCHIVE_WARN) throw damaged();

    const auto text = [](const char* plain, const char* utf8) -> std::string_view {
      if (plain != nullptr) return plain;  // as stored
      return utf8 != nullptr ? utf8 : "";
    };
    const std::string_view stored = text(archive_entry_pathname(entry), archive_entry_pathname_utf8(entry));
    const std::optional<std::string> path = safe_path(stored);
    const auto refuse = [&](std::string_view what) {
      return base::Error("'" + name + "' holds '" + base::printable(what) +
                         "', which leads out of the archive")
          .hint("do not use this archive");
    };
    if (!path) throw refuse(stored);
    if (path->empty()) continue;

    Member member;
    member.path = *path;
    member.mode = archive_entry_perm(entry);
    member.mtime = archive_entry_mtime(entry);
    const std::string_view owner = text(archive_entry_uname(entry), archive_entry_uname_utf8(entry));
    const std::string_view group = text(archive_entry_gname(entry), archive_entry_gname_utf8(entry));
    member.owner = owner.empty() ? std::to_string(archive_entry_uid(entry)) : std::string(owner);
    member.group = group.empty() ? std::to_string(archive_entry_gid(entry)) : std::string(group);
    const std::string_view hard = text(archive_entry_hardlink(entry), archive_entry_hardlink_utf8(entry));
    if (!hard.empty()) {
      const std::optional<std::string> target = safe_path(hard);
      if (!target || target->empty()) throw refuse(hard);
      member.kind = 'h';
      member.target = *target;
    } else {
      switch (archive_entry_filetype(entry)) {
        case AE_IFREG:
          member.size = static_cast<std::uint64_t>(std::max<std::int64_t>(archive_entry_size(entry), 0));
          break;
        case AE_IFDIR:
          member.kind = 'd';
          break;
        case AE_IFLNK:
          member.kind = 'l';
          member.target = text(archive_entry_symlink(entry), archive_entry_symlink_utf8(entry));
          break;
        default:
          member.kind = 'o';
          break;
      }
    }
    each(member, content_of(handle, damaged));
  }
}

}  // namespace

std::string Content::operator()() const {
  std::string all;
  for (std::string_view piece = next_(); !piece.empty(); piece = next_()) all += piece;
  return all;
}

void Content::save(const fs::path& to) const {
  const Fd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) throw io_error("create", to, errno);
  for (std::string_view piece = next_(); !piece.empty(); piece = next_()) {
    while (!piece.empty()) {
      const ssize_t put = ::write(out.get(), piece.data(), piece.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw io_error("write", to, errno);
      piece.remove_prefix(static_cast<std::size_t>(put));
    }
  }
}

void read_archive(const fs::path& from, const EachMember& each) {
  const Fd fd(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw io_error("read", from, errno);
  read_members(
      from.string(),
      [&](archive* handle) { return archive_read_open_fd(handle, fd.get(), std::size_t{1} << 18U); }, each);
}

void read_archive_in(std::string_view bytes, const std::string& name, const EachMember& each) {
  read_members(
      name, [&](archive* handle) { return archive_read_open_memory(handle, bytes.data(), bytes.size()); },
      each);
}

void expand(const fs::path& from, const fs::path& to) {
  const Fd fd(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw io_error("read", from, errno);
  const Reader reader(archive_read_new(), &archive_read_free);
  archive* const handle = reader.get();
  archive_read_support_format_raw(handle);
  archive_read_support_format_empty(handle);
  archive_read_support_filter_gzip(handle);
  archive_read_support_filter_bzip2(handle);
  archive_read_support_filter_xz(handle);
  archive_read_support_filter_zstd(handle);
  const auto damaged = [&] {
    return base::Error("'" + from.string() + "' cannot be expanded: " + cause(handle))
        .hint("it may be damaged or cut short; fetch or make it again");
  };
  archive_entry* entry = nullptr;
  if (archive_read_open_fd(handle, fd.get(), std::size_t{1} << 18U) != ARCHIVE_OK) throw damaged();
  const int first = archive_read_next_header(handle, &entry);
  if (first != ARCHIVE_OK && first != ARCHIVE_EOF) throw damaged();
  const Content nothing([] { return std::string_view(); });
  (first == ARCHIVE_EOF ? nothing : content_of(handle, damaged)).save(to);
}

void compress_socket(int from, const fs::path& to) {
  const Fd fd(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) throw io_error("create", to, errno);
  const Writer writer(archive_write_new(), &archive_write_free);
  archive* const handle = writer.get();
  check(handle, archive_write_set_format_raw(handle), to, "write");
  check(handle, archive_write_add_filter_zstd(handle), to, "write");
  // What is written once and read within seconds: speed counts.
  check(handle, archive_write_set_filter_option(handle, "zstd", "compression-level", "1"), to, "write");
  check(handle, archive_write_open_fd(handle, fd.get()), to, "write");
  const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                            &archive_entry_free);
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  check(handle, archive_write_header(handle, entry.get()), to, "write");
  std::vector<char> buffer(std::size_t{1} << 20U);
  while (true) {
    const ssize_t count = ::read(from, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("read what is to be kept in", to, errno);
    if (count == 0) break;
    write_data(handle, {buffer.data(), static_cast<std::size_t>(count)}, to);
  }
  check(handle, archive_write_close(handle), to, "write");
  if (::fsync(fd.get()) != 0) throw io_error("write", to, errno);
}

bool expand_to_socket(const fs::path& from, int to) {
  const Fd fd(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw io_error("read", from, errno);
  const Reader reader(archive_read_new(), &archive_read_free);
  archive* const handle = reader.get();
  archive_read_support_format_raw(handle);
  archive_read_support_filter_zstd(handle);
  const auto damaged = [&] {
    return base::Error("'" + from.string() + "' cannot be expanded: " + cause(handle));
  };
  archive_entry* entry = nullptr;
  if (archive_read_open_fd(handle, fd.get(), std::size_t{1} << 18U) != ARCHIVE_OK ||
      archive_read_next_header(handle, &entry) != ARCHIVE_OK)
    throw damaged();
  std::vector<char> buffer(std::size_t{1} << 20U);
  while (true) {
    const la_ssize_t count = archive_read_data(handle, buffer.data(), buffer.size());
    if (count < 0) throw damaged();
    if (count == 0) return true;
    std::string_view rest(buffer.data(), static_cast<std::size_t>(count));
    while (!rest.empty()) {
      const ssize_t put = ::send(to, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return false;
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
  }
}

}  // namespace kiln::host
