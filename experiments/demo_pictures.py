"""Pictures of the demonstration page with the models that a running server has: docs/pictures/demo-*.png.

    r1jax demo --no-browser
    pip install -e '.[dev]' && apt install chromium fonts-noto-cjk
    python experiments/demo_pictures.py [--url http://127.0.0.1:8000/] [--example 4] [--seed 0] [--out docs/pictures]

Models answer what they answer: the seed is fixed before the pictures are seen, and is not chosen by them.
"""

import argparse
import io
import pathlib
import shutil
from typing import Any

from r1jax.config import nearest
from r1jax.io.files import write_bytes

COLOURS = 128  # of a picture's palette
MAX_BYTES = 200_000
DESKTOP = {"viewport": {"width": 1200, "height": 800}, "device_scale_factor": 1.5}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
# Name -> the browser's settings, the view, and whether all of the page is taken or what a screen shows.
PICTURES = {
    "compare-light": (DESKTOP, "Side by side", True),
    "compare-dark": ({**DESKTOP, "color_scheme": "dark"}, "Side by side", True),
    "sample": (DESKTOP, "Sample 16", False),
    "phone": (PHONE, "Side by side", False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/", help="of the page; %(default)s")
    parser.add_argument("--example", type=int, default=4, help="which of the page's first examples; %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling; %(default)s")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/pictures"), help="%(default)s")
    parser.add_argument("--only", choices=list(PICTURES), help="one picture; by default all")
    args = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise SystemExit("pictures need playwright: pip install -e '.[dev]'") from error
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        raise SystemExit("pictures need a browser: on Debian or Ubuntu, 'apt install chromium' brings it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in [args.only] if args.only else PICTURES:
            options, view, whole = PICTURES[name]
            page = browser.new_page(**options)
            png = compressed(picture(page, args.url, view, args.example, args.seed, whole))
            write_bytes(args.out / f"demo-{name}.png", png)
            print(f"{len(png):,} bytes: {args.out / f'demo-{name}.png'}")
        browser.close()


def picture(page: Any, url: str, view: str, example: int, seed: int, whole: bool) -> bytes:
    """The view after an example has been answered, as PNG.

    Raises:
        ValueError: there is no such view or example.
    """
    page.goto(url)
    page.get_by_role("tab", selected=True).wait_for()
    tab = page.get_by_role("tab", name=view, exact=True)
    if not tab.is_visible():
        views = page.get_by_role("tab").all_text_contents()
        raise ValueError(f"the page has no view {view!r} with these models; nearest: {nearest(view, views)}")
    tab.click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Seed").fill(str(seed))
    page.get_by_role("button", name="Settings").click()
    examples = page.locator(".chip")
    if not 1 <= example <= examples.count():
        raise ValueError(f"--example={example}: the page shows {examples.count()}")
    examples.nth(example - 1).click()
    page.locator("body:not(.running)").wait_for(timeout=300_000)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)  # bars grow for a moment
    return page.screenshot(full_page=whole)


def compressed(png: bytes) -> bytes:
    """A picture with a palette, which a page of text needs no more than.

    Raises:
        ValueError: it has more than `MAX_BYTES` all the same.
    """
    from PIL import Image

    target = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(target, "PNG", optimize=True)
    if target.tell() > MAX_BYTES:
        raise ValueError(f"the picture has {target.tell():,} bytes, more than {MAX_BYTES:,}: lower its scale")
    return target.getvalue()


if __name__ == "__main__":
    main()
