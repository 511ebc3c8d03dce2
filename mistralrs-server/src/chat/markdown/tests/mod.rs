//! Markdown as snapshots of rows, and streams against the whole text.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use ratatui::style::Modifier;

fn text(rows: &[Line<'static>]) -> String {
    rows.iter().map(|row| format!("{}\n", row.to_string().trim_end())).collect()
}

fn check(source: &str, width: usize, expected: Expect) {
    expected.assert_eq(&text(&render(source, width)));
}

/// Every style once: `*` bold, `/` italic, `_` underlined, `-` crossed out, and the color's name.
fn styled(source: &str) -> String {
    render(source, 60)
        .iter()
        .flat_map(|row| &row.spans)
        .map(|span| {
            let has = |modifier| span.style.add_modifier.contains(modifier);
            let mut marks = String::new();
            for (modifier, mark) in [
                (Modifier::BOLD, '*'),
                (Modifier::ITALIC, '/'),
                (Modifier::UNDERLINED, '_'),
                (Modifier::CROSSED_OUT, '-'),
            ] {
                if has(modifier) {
                    marks.push(mark);
                }
            }
            let color = span.style.fg.map(|color| color.to_string()).unwrap_or_default();
            format!("{marks}{color}[{}]", span.content)
        })
        .collect()
}

const SAMPLE: &str = "\
# Title

Some **bold** and *italic* text with `code` and a [link](http://x.y/z).
Second line of 漢字かな the paragraph, long enough to wrap somewhere.

- one
- two
  - inner
    1. first
    2. second
- [x] done

1. a

   second paragraph of a

2. b

> quoted **text**
> - in a quote
>
> more

```rust
fn main() {
    println!(\"hi\");
}
```

    indented code
      more

| a | long header | c |
|:--|:-:|--:|
| 1 | x | 22 |
| e\u{301} | 漢字 | 333 |

---

<think>
hidden
</think>

Setext
======

The end <b>of</b> it \\* &amp; so.
";

#[test]
fn a_whole_answer() {
    check(
        SAMPLE,
        40,
        expect![[r#"
            Title

            Some bold and italic text with code and
            a link (http://x.y/z).
            Second line of 漢字かな the paragraph,
            long enough to wrap somewhere.

            • one
            • two
              ◦ inner
                1. first
                2. second
            • ☑ done

            1. a

               second paragraph of a

            2. b

            ▌ quoted text
            ▌
            ▌ • in a quote
            ▌
            ▌ more

            ╭─ rust
            │ fn main() {
            │     println!("hi");
            │ }
            ╰─

            ╭─
            │ indented code
            │   more
            ╰─

            a   │ long header │   c
            ────┼─────────────┼────
            1   │      x      │  22
            é   │    漢字     │ 333

            ────────────────────────────────────────

            <think>
            hidden
            </think>

            Setext

            The end <b>of</b> it * & so.
        "#]],
    );
}

#[test]
fn narrow() {
    check(
        "> - a quoted list item that wraps\n\n| wide column | another |\n|-|-|\n| some words here | x |\n",
        16,
        expect![[r#"
        ▌ • a quoted
        ▌   list item
        ▌   that wraps

        wide    │ anothe
        column  │ r
        ────────┼───────
        some    │ x
        words   │
        here    │
    "#]],
    );
}

#[test]
fn styles() {
    expect!["[a ]*[b ]*/[c][ ]-[d][ ]Yellow[e][ ]_Blue[f][ (g)]*_Magenta[H]"]
        .assert_eq(&styled("a **b *c*** ~~d~~ `e` [f](g)\n# H\n"));
    expect!["_Blue[http://x.y][ ][(p.png)][ ]_Blue[alt][ (p.png)]"]
        .assert_eq(&styled("<http://x.y> ![](p.png) ![alt](p.png)"));
}

#[test]
fn odd_ones() {
    check("", 20, expect![[""]]);
    check(
        "- \n- x\n-",
        20,
        expect![[r#"
        •
        • x
        •
    "#]],
    );
    check(
        "```\nunclosed",
        20,
        expect![[r#"
        ╭─
        │ unclosed
        ╰─
    "#]],
    );
    check(
        "a\u{1b}[31mb `\u{7}`",
        20,
        expect![[r#"
        a�[31mb �
    "#]],
    );
    check(
        "```py\n0123456789012345678901234567890\n```",
        20,
        expect![[r#"
        ╭─ py
        │ 012345678901234567
        │ 8901234567890
        ╰─
    "#]],
    );
}

fn streamed(source: &str, cuts: &[usize], width: usize, room: usize) -> String {
    let mut stream = Stream::default();
    let mut out = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([source.len()]) {
        let cut =
            (from..=source.len()).find(|at| *at >= cut && source.is_char_boundary(*at)).unwrap();
        stream.push(&source[from..cut]);
        out.extend(stream.take_finished(width, room));
        from = cut;
    }
    out.extend(stream.finish(width));
    text(&out)
}

proptest! {
    #[test]
    fn a_stream_renders_like_the_whole(mut cuts in prop::collection::vec(0..SAMPLE.len(), 0..60), width in 8_usize..80) {
        cuts.sort_unstable();
        prop_assert_eq!(streamed(SAMPLE, &cuts, width, usize::MAX), text(&render(SAMPLE, width)));
    }

    #[test]
    fn rows_fit(width in 16_usize..100) {
        for row in render(SAMPLE, width) {
            prop_assert!(row.width() <= width, "{row:?}");
        }
    }
}

#[test]
fn byte_by_byte() {
    let cuts: Vec<usize> = (0..SAMPLE.len()).collect();
    assert_eq!(streamed(SAMPLE, &cuts, 40, usize::MAX), text(&render(SAMPLE, 40)));
}

#[test]
fn a_long_block_comes_out_row_by_row() {
    let code: String = (0..50).map(|i| format!("line {i}\n")).collect();
    let source = format!("intro\n\n```\n{code}```\n\nend\n");
    let cuts: Vec<usize> = (0..source.len()).collect();
    // The closing row of an open block may be on the screen but must not come out early.
    assert_eq!(streamed(&source, &cuts, 40, 5), text(&render(&source, 40)));
    let mut stream = Stream::default();
    stream.push(&source[..200]);
    assert!(stream.take_finished(40, 5).len() > 10);
    assert!(stream.take_finished(40, 5).is_empty());
    assert!(stream.tail(40).len() <= 5);
}

#[test]
fn a_growing_block_does_not_change_its_mind() {
    let tail = |source: &str| {
        let mut stream = Stream::default();
        stream.push(source);
        text(&stream.tail(40))
    };
    assert_eq!(tail("para\n-"), "para\n");
    assert_eq!(tail("| a | b |\n|-|-|\n|"), tail("| a | b |\n|-|-|\n"));
    assert_eq!(tail("some **bo"), "some bo\n");
    assert_eq!(tail("some `co"), "some co\n");
    assert_eq!(tail("2 * 3 ** 4"), "2 * 3 ** 4\n");
    assert_eq!(tail("```\nx = `a"), "╭─\n│ x = `a\n╰─\n");
}
