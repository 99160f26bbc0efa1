"""What is asked of a page in the browser: plain data, worked out there."""

CONTRASTS = """
const channel = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color[3] === 1) return color;
    if (color[3] !== 0) throw new Error("a background that shines through: " + at.outerHTML.slice(0, 80));
  }
  return [255, 255, 255, 1];
}
const bad = [];
for (const element of document.querySelectorAll("body *")) {
  if (element.closest("svg")) continue;
  if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
  const [ink, page] = [parse(getComputedStyle(element).color), behind(element)].map(luminance);
  const ratio = (Math.max(ink, page) + 0.05) / (Math.min(ink, page) + 0.05);
  if (ratio < 4.5) bad.push(element.textContent.trim().slice(0, 40) + ": " + ratio.toFixed(2));
}
return bad;
"""
"""Texts that stand out less from what is behind them than WCAG AA asks for."""

HIDDEN = """
return [...document.querySelectorAll("body *:not(svg *)")]
  .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
  .filter(element => !element.getClientRects().length || !element.checkVisibility({contentVisibilityAuto: true}))
  .map(element => element.textContent.trim().slice(0, 60));
"""
"""Texts that can't be seen."""

TOO_WIDE = """
return [...document.querySelectorAll("body *")]
  .filter(element => !element.closest(".scroll") && element.getBoundingClientRect().right > innerWidth + 0.5)
  .map(element => element.outerHTML.slice(0, 80));
"""
"""Elements that reach beyond the screen, but for those that can be scrolled within the page."""

ROWS = """
return [...document.querySelectorAll(arguments[0])].map(element => ({
  data: {...element.dataset},
  cells: [...element.children].map(cell => cell.innerText.trim().replace(/\\s+/g, " ")),
}));
"""
"""What elements say in data- attributes, and what each of their children shows."""
