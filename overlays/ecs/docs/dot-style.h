/* The words that diagrams here are written in, for the C preprocessor in front of Graphviz: cpp -P -undef | dot.
 *
 *   PROCESSFLOW(title) ... END          a diagram, left to right
 *   OUTSIDE, HOST, CONTAINERS, STORES   clusters: each is NAME(id, title) ... END
 *   prod(name, label)                   who talks; its colour is its cluster's
 *   store(name, label)                  what keeps data
 *   a to b bidir(proto)                 asked and answered; unidir(proto): sent one way
 *   port(number)                        in a proto: the port on the receiver's side
 */
#define PROCESSFLOW(title) digraph flow { \
  graph [label=title, labelloc=t, fontname="Helvetica", fontsize=20, fontcolor="#1f2d3d", rankdir=LR, compound=true, \
         nodesep=0.38, ranksep=1.05, splines=spline, bgcolor="white", pad=0.35]; \
  node  [shape=box, style="rounded,filled", penwidth=1.2, fontname="Helvetica", fontsize=13, fontcolor="#1f2d3d", \
         margin="0.18,0.1", height=0.5]; \
  edge  [fontname="Helvetica", fontsize=11, fontcolor="#44546a", color="#5b6b80", arrowsize=0.75, penwidth=1.2];
#define END }

#define BOX(id, title, edge, fill) subgraph cluster_##id { \
  label=title; labeljust=l; fontsize=13; fontcolor=edge; style="rounded,filled"; color=edge; fillcolor=fill; margin=14;
/* the Internet: anybody */
#define OUTSIDE(id, title)    BOX(id, title, "#b4552d", "#fdf3ee") node [color="#b4552d", fillcolor="#fbdccd"];
/* a service of the host, with public ports */
#define FRONT(id, title)      BOX(id, title, "#2f6f3e", "#f1f8f2") node [color="#2f6f3e", fillcolor="#cfe8d4"];
/* a service of the host that only containers and the host reach */
#define HOST(id, title)       BOX(id, title, "#2b5c8a", "#eff5fa") node [color="#2b5c8a", fillcolor="#cfe1f1"];
/* containers, on docker's bridge */
#define CONTAINERS(id, title) BOX(id, title, "#6a4a94", "#f6f2fa") node [color="#6a4a94", fillcolor="#e0d3ef"];

#define prod(name, text)  name [label=text]
#define store(name, text) name [label=text, shape=cylinder, style=filled, margin="0.2,0.12"]
#define to ->
#define bidir(proto)  [label=proto, dir=both]
#define unidir(proto) [label=proto]
#define public_bidir(proto)  [label=proto, dir=both, color="#b4552d", fontcolor="#b4552d", penwidth=2]
#define public_unidir(proto) [label=proto, color="#b4552d", fontcolor="#b4552d", penwidth=2]
