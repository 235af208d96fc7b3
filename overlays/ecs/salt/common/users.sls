# Users with fixed numbers. A machine where one of them has another number already was built wrong: Salt then reports what it
# changed, and files that belong to the old number are not looked for.
{%- import_text 'common/sysusers.conf' as text %}
{%- for line in text.splitlines() if line.startswith('u ') %}
{%- set name, id, _, home, shell = line.split()[1:6] %}
{{ name }}:
  group.present:
    - gid: {{ id }}
  user.present:
    - uid: {{ id }}
    - gid: {{ id }}
    - home: {{ home }}
    - createhome: false
    - shell: {{ shell }}
    - require:
      - group: {{ name }}
{%- endfor %}
{%- for line in text.splitlines() if line.startswith('g ') %}
{%- set name, id = line.split()[1:3] %}
{{ name }}:
  group.present:
    - gid: {{ id }}
{%- endfor %}
