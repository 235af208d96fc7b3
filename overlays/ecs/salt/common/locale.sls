# The system's locale. `locale` is cloud-init's own key of the environment.
{%- set locale = salt['pillar.get']('locale', 'en_US.UTF-8') %}
include:
  - common.packages

{{ locale }}:
  locale.present:
    - require:
      - pkg: packages

/etc/default/locale:
  file.managed:
    - contents: LANG={{ locale }}
    - require:
      - locale: {{ locale }}
