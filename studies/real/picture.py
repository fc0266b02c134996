"""A bar chart of shares of the gap, as SVG without any library."""

from xml.sax.saxutils import escape

ROW, LEFT, WIDTH, TOP = 22, 510, 360, 34
SCALE_END = 1.2
COLORS = {"value": "#2b6cb0", "proxy": "#c05621", "few-shot": "#718096"}


def picture(bars):
    """Bars of (skill, base, label, share, low, high); 100% is the LoRA fine-tuning of the base itself."""
    bars = list(bars)
    height = TOP + ROW * len(bars) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 60} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/><text x="8" y="18" font-weight="bold">'
        "Share of the gap between the base alone (0%) and its own LoRA fine-tuning (100%)</text>",
    ]
    for tick in range(0, 101, 25):
        parts.append(f'<line x1="{place(tick / 100)}" x2="{place(tick / 100)}" y1="{TOP - 6}" y2="{height - 24}" stroke="#cbd5e0"/>')
        parts.append(f'<text x="{place(tick / 100)}" y="{height - 8}" text-anchor="middle">{tick}%</text>')
    for index, bar in enumerate(bars):
        parts += row(TOP + ROW * index, *bar)
    return "\n".join([*parts, "</svg>", ""])


def place(share):
    return round(LEFT + WIDTH * min(max(share, 0.0), SCALE_END) / SCALE_END, 1)


def row(top, skill, base, label, share, low, high):
    color = next((color for word, color in COLORS.items() if label.startswith(word)), "#4a5568")
    middle = top + ROW / 2 - 2
    return [
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(f"{skill}, {base}: {label}")}</text>',
        f'<rect x="{LEFT}" y="{top + 2}" width="{round(place(share) - LEFT, 1)}" height="{ROW - 8}" fill="{color}"/>',
        f'<line x1="{place(low)}" x2="{place(high)}" y1="{middle}" y2="{middle}" stroke="black"/>',
        f'<text x="{place(max(share, high)) + 6}" y="{middle + 4}">{100 * share:.0f}%</text>',
    ]
