#!jinja|yaml
{#- The activated environment, read as the very text that prepare-env wrote: what stands in it is data, never a template. #}
{{ salt['file.read']('/run/active-env.yml') }}
