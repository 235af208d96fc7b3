# All packages in one transaction: one question to dpkg when nothing is to do, one run of apt when something is.
{%- import_text 'common/packages/' ~ grains['oscodename'] ~ '.txt' as text %}
include:
  - common.users

packages:
  pkg.installed:
    - pkgs:
{%- for line in text.splitlines() if line.strip() and not line.startswith('#') %}
      - {{ line.strip() }}
{%- endfor %}
    - install_recommends: false
    - require:
      - sls: common.users
