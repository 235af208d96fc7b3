# What an operator, or an update, does to the boot loader of a running machine.
package lists:
  cmd.run:
    - name: apt-get update -q
    - env: [DEBIAN_FRONTEND: noninteractive]

kernel:
  cmd.run:
    - name: apt-get install -q -y --reinstall $(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'linux-image-[0-9]*' | sed -n 's/^ii *//p')
    - env: [DEBIAN_FRONTEND: noninteractive]
    - require:
      - cmd: package lists

update-grub:
  cmd.run:
    - name: update-grub
    - require:
      - cmd: kernel

grub-install by BIOS:
  cmd.run:
    - name: grub-install --target=i386-pc "/dev/$(lsblk -no PKNAME /dev/disk/by-label/cloudimg-rootfs)"
    - require:
      - cmd: update-grub

grub-install by UEFI:
  cmd.run:
    - name: mountpoint -q /boot/efi || mount /boot/efi; grub-install --target=x86_64-efi --removable --no-nvram
    - require:
      - cmd: grub-install by BIOS
