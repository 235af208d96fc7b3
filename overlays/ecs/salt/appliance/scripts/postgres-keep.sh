#!/bin/sh
# Keeps the server of this version on the data disk, with all that it is loaded with: an image has one PostgreSQL, and the image
# that comes after it needs this server once more to read the cluster. About 80 MiB, written again when the package changes; not
# where /data goes with the root disk.
set -eu
umask 022
mountpoint -q /data || exit 0
version=$(for program in /usr/lib/postgresql/*/bin/postgres; do basename "${program%/bin/postgres}"; done | sort -V | tail -n 1)
kept=/data/postgresql-program/$version
lib=/usr/lib/postgresql/$version
share=/usr/share/postgresql/$version
package=$(dpkg-query --show --showformat='${Version}' "postgresql-$version")

[ "$(cat "$kept/package" 2>/dev/null)" != "$package" ] || exit 0
if [ "$(df -k --output=avail /data | tail -n 1)" -lt 1048576 ]; then
  echo "less than 1 GiB is free on /data: the server of $package is not kept" >&2
  exit 0
fi
rm -rf "$kept.new"
mkdir -p "$kept.new/bin" "$kept.new/libraries"
cd "$kept.new"
cp -a --parents "$lib/bin/postgres" "$share" .
mkdir -p ".$lib/lib"
# compiled queries want LLVM, which is bigger than all the rest
find "$lib/lib" -maxdepth 1 -name '*.so' ! -name 'llvmjit*' -exec cp -a -t ".$lib/lib" {} +
for file in ".$lib/bin/postgres" ".$lib/lib"/*.so; do
  ldd "$file" | grep -o '/[^ )]*'
done | grep -v '/postgresql/' | sort -u | xargs cp -L -t libraries
mv libraries/ld-linux* ld.so
# the locale of the cluster, for a libc that bears no other's
[ ! -d /usr/lib/locale/C.utf8 ] || cp -a /usr/lib/locale/C.utf8 -t libraries
cat >bin/postgres <<END
#!/bin/sh
# Starts the server that is kept here with the loader and the libraries that are kept beside it.
here=\$(CDPATH='' cd -- "\${0%/*}/.." && pwd -P)
export LOCPATH="\$here/libraries"
exec "\$here/ld.so" --inhibit-cache --library-path "\$here/libraries" --argv0 "\$here$lib/bin/postgres" "\$here$lib/bin/postgres" "\$@"
END
chmod 0755 bin/postgres
echo "$package" >package
chown -R root:root .
chmod -R u=rwX,go=rX .
sync
rm -rf "$kept"
mv "$kept.new" "$kept"
echo "kept the server of $package in $kept"
