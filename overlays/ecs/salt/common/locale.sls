# The system's locale. `locale` is cloud-init's own key of the environment.
{%- set locale = salt['pillar.get']('locale', 'en_US.UTF-8') %}
include:
  - common.packages

/etc/locale.gen:
  file.managed:
    - contents: {{ locale }} {{ locale.split('.')[-1] }}
    - require:
      - pkg: packages

locale-gen:
  cmd.run:
    - unless: locale -a | grep -qixF {{ locale | replace('UTF-8', 'utf8') }}
    - require:
      - file: /etc/locale.gen

/etc/default/locale:
  file.managed:
    - contents: LANG={{ locale }}
    - require:
      - cmd: locale-gen
