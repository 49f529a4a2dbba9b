# SPDX-License-Identifier: Apache-2.0
"""How the page looks: light and dark, on paper, and on a phone."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--card:#f6f7f9;--ink:#1c2128;--soft:#5b6472;--line:#d9dde3;
--ok:#1a7f37;--bad:#c62828;--warn:#b26a00;--note:#4a6785;--band:#bfe3c8;--bar:#5b7fb5;--track:#e3e6eb}
@media(prefers-color-scheme:dark){:root{--ground:#14171c;--card:#1d2229;--ink:#e4e7eb;--soft:#9aa4b2;
--line:#343b45;--ok:#3fa35a;--bad:#e5605c;--warn:#d9962f;--note:#7f9dbd;--band:#245233;--bar:#7da0d6;
--track:#2c333c}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1rem 1.25rem 3rem;max-width:84rem;
background:var(--ground);color:var(--ink);overflow-wrap:break-word}
h1{font-size:1.35rem;margin:.5rem 0 .1rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
p{margin:.4rem 0}.soft,dt,figcaption,caption{color:var(--soft)}
a{color:inherit}nav a{margin-right:1rem}
.verdict{display:inline-block;padding:.1rem .55rem;border-radius:.3rem;color:#fff;font-weight:600;
white-space:nowrap;background:#4a6785}
.verdict.ok{background:#1a7f37}.verdict.bad{background:#c62828}.verdict.warn{background:#9a5b00}
.verdict.big{font-size:1.1rem;padding:.25rem .8rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;
margin:1rem 0;padding:0}
.tiles>div{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.5rem .7rem}
.tiles dt{font-size:.85rem}.tiles dd{margin:0;font-size:1.2rem;font-weight:600;overflow-wrap:anywhere}
.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem 1rem;margin:.8rem 0}
.facts dd{margin:0;overflow-wrap:anywhere}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:.4rem 0}
.legend i{display:inline-block;width:.75rem;height:.75rem;border-radius:.15rem;margin-right:.35rem}
i.ok{background:var(--ok)}i.bad{background:var(--bad)}i.warn{background:var(--warn)}
i.note{background:var(--note)}
i.gone{background:repeating-linear-gradient(45deg,var(--bad) 0 2px,transparent 2px 4px);
outline:1px solid var(--bad)}
table{border-collapse:collapse;width:100%}caption{text-align:left;padding:.3rem 0}
th,td{text-align:left;vertical-align:top;padding:.4rem .5rem;border-bottom:1px solid var(--line)}
th{font-weight:600;font-size:.85rem;color:var(--soft)}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
.name{display:inline-block;max-width:100%}
.columns td:first-child{min-width:9rem}.columns .name{overflow-wrap:break-word;max-width:22rem}
.results th{white-space:nowrap}
.results>tbody>tr>td:nth-child(1),.results>tbody>tr>td:nth-child(5){white-space:nowrap}
.results>thead th:nth-child(2){width:29%}.results>thead th:nth-child(4){width:31%}
.results>tbody>tr>td:nth-child(3),.results>tbody>tr>td:nth-child(4){overflow-wrap:anywhere}
.number{text-align:right;font-variant-numeric:tabular-nums}
summary{cursor:pointer;padding:.3rem 0}summary:focus-visible,a:focus-visible{outline:2px solid var(--bar)}
.results .open>td{border-bottom:0;padding-bottom:0}.rows summary{padding:0}
.scroll{overflow-x:auto;max-width:100%}
.rows table{width:auto;font-size:.9rem}
.rows td,.rows th{padding:.2rem .9rem .2rem 0;white-space:nowrap;width:auto}
.plot{display:block;max-width:100%;overflow:visible}
.stacked{width:100%;height:.9rem;border-radius:.25rem;overflow:hidden}
.share,.range{width:120px;height:14px;margin-top:.3rem}.histogram{width:150px;height:40px}
.spark{width:100%;height:auto}figure .ends{width:100%}
.runs{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1rem}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.5rem .7rem}
.plot .ok{fill:var(--ok)}.plot .bad{fill:var(--bad)}.plot .warn{fill:var(--warn)}.plot .note{fill:var(--note)}
.plot .gone{fill:var(--bad);opacity:.55}.plot .track{fill:var(--track)}.plot .band{fill:var(--band)}
.plot .edge{fill:var(--ok)}.plot .dot{fill:var(--soft)}.plot .mark{fill:var(--ink)}.plot .bar{fill:var(--bar)}
.plot .axis{fill:var(--soft)}.plot .line{fill:none;stroke:var(--bar);stroke-width:1.5}
.top{list-style:none;margin:0;padding:0;width:11rem;max-width:100%;font-size:.85rem}
.top li{display:flex;justify-content:space-between;gap:.5rem;padding:0 .25rem;margin-bottom:1px;
background:linear-gradient(to right,var(--track) var(--share),transparent var(--share))}
.top span:first-child{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;min-width:0}
.ends{display:flex;justify-content:space-between;gap:.4rem;font-size:.75rem;color:var(--soft);width:150px}
.ends span{white-space:nowrap}
@media screen and (max-width:50rem){
body{padding:.75rem .75rem 2rem}
.cards>thead{display:none}.cards,.cards>tbody{display:block}
.cards>tbody>tr{display:block;padding:.5rem 0;border-bottom:1px solid var(--line)}
.cards>tbody>tr.open{border:0;padding-bottom:0}
.cards>tbody>tr>td{display:grid;grid-template-columns:6.5rem minmax(0,1fr);gap:.5rem;border:0;
padding:.15rem 0;width:auto;white-space:normal;text-align:left;overflow-wrap:anywhere}
.cards>tbody>tr>td:not(.wide)::before{content:attr(data-name);color:var(--soft)}
.columns .name{overflow-wrap:anywhere;max-width:100%}
.cards>tbody>tr>td.wide{display:block}.cards>tbody>tr>td.empty{display:none}
.verdict{justify-self:start}.facts{grid-template-columns:minmax(0,1fr);gap:0}.facts dd{margin-bottom:.4rem}
}
@media print{:root{color-scheme:light;--ground:#fff;--card:#fff;--ink:#000;--soft:#444}
body{max-width:none;font-size:10pt;-webkit-print-color-adjust:exact;print-color-adjust:exact}nav{display:none}
tr,figure{break-inside:avoid}details::details-content{content-visibility:visible;block-size:auto}}
"""
