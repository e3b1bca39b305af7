"""What a run leaves behind where --json and --out ask for it."""
import json


def write(result, options, draw):
    """draw(result, folder) puts pages and plots beside result.json."""
    text = json.dumps(result, indent=1) + "\n"
    if options.json:
        options.json.write_text(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "result.json").write_text(text)
        draw(result, options.out)
