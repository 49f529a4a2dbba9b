# SPDX-License-Identifier: Apache-2.0
"""How the page looks: light and dark, on paper, and on a phone."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--card:#f6f7f9;--ink:#1c2128;--soft:#5b6472;--line:#d9dde3;
--ok:#1a7f37;--bad:#c62828;--unknown:#8a5a00;--bar:#8fb0dc;--outline:#a04000;--track:#e3e6eb}
@media(prefers-color-scheme:dark){:root{--ground:#14171c;--card:#1d2229;--ink:#e4e7eb;--soft:#9aa4b2;
--line:#343b45;--ok:#3fa35a;--bad:#e5605c;--unknown:#d9962f;--bar:#4a6ea3;--outline:#f0a35e;--track:#2c333c}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem 1.25rem 3rem;max-width:84rem;
background:var(--ground);color:var(--ink);overflow-wrap:anywhere}
h1{font-size:1.35rem;margin:.5rem 0 .1rem}
h2{font-size:1.1rem;margin:2rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
h3{font:600 .95rem/1.35 ui-monospace,monospace;margin:0;min-width:0}
p{margin:.4rem 0}.soft,dt{color:var(--soft)}
a{color:inherit}a:focus-visible,summary:focus-visible{outline:2px solid var(--bar)}
.verdict{display:inline-block;padding:.05rem .5rem;border-radius:.3rem;color:#fff;font-weight:600;
font-size:.8rem;white-space:nowrap;background:#4a6785}
.verdict.ok{background:#1a7f37}.verdict.bad{background:#c62828}.verdict.unknown{background:#8a5a00}
.verdict.big{font-size:1.1rem;padding:.25rem .8rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.6rem;margin:1rem 0}
.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.5rem .7rem}
.tiles dt{font-size:.85rem}.tiles dd{margin:0;font-size:1.2rem;font-weight:600}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem 1rem;margin:.8rem 0}
.facts dd{margin:0}
.index{display:flex;flex-wrap:wrap;gap:.25rem .9rem;padding:0;margin:.4rem 0;list-style:none;
font:.85rem ui-monospace,monospace}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(19rem,100%),1fr));gap:.8rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .75rem;
content-visibility:auto;contain-intrinsic-size:auto 19rem;min-width:0}
.card.bad{border-left:4px solid var(--bad)}.card.unknown{border-left:4px solid var(--unknown)}
.card:target{outline:2px solid var(--bar)}
.head{display:flex;justify-content:space-between;align-items:baseline;gap:.6rem}
.kind{font-size:.8rem;margin:0 0 .4rem}
.plot{display:block;width:100%;height:4.5rem;overflow:visible}
.bar{fill:var(--bar)}.outline{fill:none;stroke:var(--outline);stroke-width:1.6;
vector-effect:non-scaling-stroke}
.axis{fill:none;stroke:var(--soft);stroke-width:1;vector-effect:non-scaling-stroke}
.ends{display:flex;justify-content:space-between;gap:.5rem;font-size:.75rem;color:var(--soft);
font-variant-numeric:tabular-nums}
.numbers{display:grid;grid-template-columns:max-content minmax(0,1fr) max-content minmax(0,1fr);
gap:0 .6rem;font-size:.82rem;margin:.45rem 0 0;font-variant-numeric:tabular-nums}.numbers dd{margin:0}
table{border-collapse:collapse;width:100%;font-size:.82rem;margin-top:.45rem;
font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.12rem 0 .12rem .5rem;border-top:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{font-weight:400;color:var(--soft);border:0}tbody th{font-weight:400}
.out{color:var(--bad);font-weight:600}
td small{display:block;font-weight:400}td{vertical-align:top}
.meter{width:3.5rem;height:8px;vertical-align:middle}
.meter .track{fill:var(--track)}.meter .ok{fill:var(--ok)}.meter .bad{fill:var(--bad)}
.meter .mark{fill:var(--ink)}
.reason{font-size:.82rem;color:var(--unknown)}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin:0 .35rem 0 0;vertical-align:-.1rem}
.legend span{margin-right:1.1rem}i.current{background:var(--bar)}
i.reference{border:2px solid var(--outline);border-bottom:0}
summary{cursor:pointer;padding:.3rem 0}
@media screen and (max-width:40rem){body{padding:.75rem .75rem 2rem}
.facts{grid-template-columns:minmax(0,1fr);gap:0}.facts dd{margin-bottom:.4rem}}
@media print{:root{color-scheme:light;--ground:#fff;--card:#fff;--ink:#000;--soft:#444}
body{max-width:none;font-size:10pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}
.card{break-inside:avoid;content-visibility:visible}}
"""
