//! What keys do, and that no sequence of them, of screens and of pictures breaks anything.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod made;
mod shown;

use pitviper::recording::{Mode, Tree, View};
use pitviper::tui::keys::KEYS;
use pitviper::tui::picture::share;
use pitviper::tui::query::Column;
use pitviper::tui::view::{self, Theme};
use pitviper::tui::{Action, Event, Key, Query, Sight};
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use shown::Shown;

const PLAIN: Theme = Theme { colour: true, ascii: false };

/// What holds whatever was done.
#[track_caller]
fn check(shown: &Shown) {
    let app = &shown.app;
    let keys = app.keys();
    let cursor = app.cursor();
    if app.sight != Sight::Flame {
        assert!(cursor.line < keys.len().max(1), "{cursor:?} in {}", keys.len());
        assert!(cursor.top <= cursor.line && cursor.line < cursor.top + app.height(), "{cursor:?}");
    }
    assert_eq!(Query::refusal(&app.query.options), None);
    if let Some(menu) = &app.menu {
        assert!(menu.line < menu.items.len());
    }
    for key in [app.flame.zoom, app.flame.selected].into_iter().flatten() {
        assert!(app.picture.limbs.place(key).is_some());
    }
    assert!(app.help.is_none_or(|line| line < KEYS.len()));
    assert!(app.input.is_none() || app.menu.is_none());
    let mut screen = Buffer::empty(Rect::new(0, 0, app.size.0, app.size.1));
    view::draw(app, PLAIN, &mut screen);
}

/// Something that can happen.
#[derive(Debug, Clone)]
enum Happens {
    Key(Key),
    Resize(u16, u16),
    Picture,
}

fn happens() -> impl Strategy<Value = Happens> {
    let bound: Vec<Key> = KEYS.iter().flat_map(|binding| binding.keys).copied().collect();
    prop_oneof![
        12 => prop::sample::select(bound).prop_map(Happens::Key),
        4 => any::<char>().prop_map(|c| Happens::Key(Key::Char(c))),
        1 => (0_u16..130, 0_u16..50).prop_map(|(width, height)| Happens::Resize(width, height)),
        1 => Just(Happens::Picture),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_pressed_the_view_stays_whole(all in prop::collection::vec(happens(), 1..60)) {
        let mut shown = Shown::new(80, 24);
        for one in all {
            match one {
                Happens::Key(key) => shown.press(&[key]),
                Happens::Resize(width, height) => {
                    shown.app.update(Event::Resize(width, height));
                }
                Happens::Picture => shown.picture(),
            }
            check(&shown);
        }
    }
}

#[test]
fn text_takes_every_key_that_prints() {
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char('/')]);
    let text = "q?hjk 123/\\[]+-wrmdsx漢";
    shown.type_in(text);
    assert_eq!(shown.app.input.as_ref().unwrap().text, text);
    shown.press(&[Key::Esc]);
    assert!(shown.app.input.is_none());
    assert_eq!(shown.app.sight, Sight::Functions);
}

#[test]
fn esc_undoes_the_innermost_thing_alone() {
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char('\\')]);
    shown.type_in("price");
    shown.press(&[Key::Enter, Key::Char('/')]);
    shown.type_in("cart");
    shown.press(&[Key::Enter, Key::Char('s')]);
    let state = |shown: &Shown| {
        let app = &shown.app;
        (app.menu.is_some(), app.search.clone(), app.query.options.include.clone())
    };
    let (price, cart) = (vec!["price".to_owned()], "cart".to_owned());
    assert_eq!(state(&shown), (true, cart.clone(), price.clone()));
    shown.press(&[Key::Esc]);
    assert_eq!(state(&shown), (false, cart, price.clone()));
    shown.press(&[Key::Esc]);
    assert_eq!(state(&shown), (false, String::new(), price));
    shown.press(&[Key::Esc]);
    assert_eq!(state(&shown), (false, String::new(), Vec::new()));
}

#[test]
fn a_pattern_that_does_not_compile_changes_nothing_and_is_not_lost() {
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char('\\')]);
    shown.type_in("cart(");
    let before = shown.app.query.clone();
    shown.press(&[Key::Enter]);
    assert_eq!(shown.app.query, before);
    assert_eq!(shown.app.input.as_ref().unwrap().text, "cart(");
    assert!(shown.app.message.as_ref().unwrap().contains("does not compile"));
    shown.press(&[Key::Backspace, Key::Enter]);
    assert_eq!(shown.app.query.options.include, ["cart"]);
}

#[test]
fn a_held_display_stands_still_while_it_is_looked_at_in_other_ways() {
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char(' ')]);
    let at = shown.app.picture.at;
    let more = made::sample(pitviper::model::TrackId(0), None, at.0, at.0 + 5_000_000_000);
    shown.recording.add(pitviper::model::Event::Samples { looks: 1, rows: vec![more] }).unwrap();
    shown.press(&[Key::Char('c'), Key::Char('2'), Key::Char('x')]);
    assert_eq!((shown.app.picture.at, shown.app.query.options.mode), (at, Mode::Cpu));
    shown.press(&[Key::Char('p')]);
    assert!(shown.app.picture.at > at);
}

#[test]
fn keys_ask_for_what_others_have_to_do() {
    let mut shown = Shown::new(80, 24);
    let mut asks = |key| shown.app.update(Event::Key(key));
    assert_eq!(asks(Key::Char(']')), Some(Action::Rate(50.0)));
    assert_eq!(asks(Key::Char('[')), Some(Action::Rate(20.0)));
    assert_eq!(asks(Key::Char('w')), None);
    assert_eq!(asks(Key::Char('s')), Some(Action::Write("speedscope")));
    assert_eq!(asks(Key::Char('y')), Some(Action::Copy("pack (shop.py:66)".to_owned())));
    assert_eq!(asks(Key::Ctrl('z')), Some(Action::Suspend));
    assert_eq!(asks(Key::Ctrl('l')), Some(Action::Redraw));
    assert_eq!(asks(Key::Char('q')), Some(Action::Quit));
}

#[test]
fn what_changed_since_the_mark_comes_first() {
    let mut shown = Shown::new(120, 24);
    shown.press(&[Key::Char('d')]);
    assert!(shown.app.message.as_ref().unwrap().contains("nothing is marked"));
    // The mark is set one second before the end, when discounts begin.
    shown.app.query.at = Some(pitviper::model::At(19_000_000_000));
    shown.picture();
    shown.press(&[Key::Char('m')]);
    shown.app.query.at = None;
    shown.press(&[Key::Char('d')]);
    let picture = &shown.app.picture;
    assert_eq!(shown.app.query.column, Column::Change);
    let first = &picture.functions[0];
    assert!(first.change(&picture.whole).abs() >= picture.functions[1].change(&picture.whole).abs());
    let discount = picture.functions.iter().find(|it| picture.label(it.label).contains("discount")).unwrap();
    assert_eq!(discount.before.own, 0);
    // 2 of 20 looks at the main thread, in which three threads ran.
    assert!((discount.change(&picture.whole) - 2.0 / 60.0).abs() < 0.003, "{discount:?}");
}

#[test]
fn a_reset_leaves_out_what_was_before() {
    let mut shown = Shown::new(80, 24);
    shown.app.query.at = Some(pitviper::model::At(19_000_000_000));
    shown.picture();
    shown.press(&[Key::Char('r')]);
    shown.app.query.at = None;
    shown.picture();
    let picture = &shown.app.picture;
    assert_eq!(picture.whole.all, picture.whole.now);
    assert_eq!(picture.query.exported().from_ns, Some(19_000_000_000));
}

#[test]
fn threads_are_looked_at_one_by_one_and_then_together() {
    let mut shown = Shown::new(80, 24);
    let mut seen = Vec::new();
    for _ in 0..5 {
        shown.press(&[Key::Char('t')]);
        seen.push((shown.app.query.options.only_thread.is_some(), shown.app.picture.threads.len()));
    }
    assert_eq!(seen, [(true, 1), (true, 1), (true, 1), (true, 1), (false, 4)]);
}

#[test]
fn the_hottest_path_is_opened_by_one_key() {
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char('2'), Key::Down, Key::Char('x')]);
    let limb = shown.app.selected_limb().and_then(|place| shown.app.picture.limbs.get(place)).unwrap();
    assert!(shown.app.picture.label(limb.label).starts_with("JSONDecoder.decode"));
    shown.press(&[Key::Left, Key::Left]);
    // To the frame below, which is closed then.
    assert_eq!(shown.app.cursor().line, 3);
}

#[test]
fn a_search_goes_round_and_opens_what_hides_the_match() {
    let mut shown = Shown::new(80, 24);
    shown.press(&[Key::Char('2'), Key::Char('/')]);
    shown.type_in("DECODE");
    shown.press(&[Key::Enter]);
    let selected = |shown: &Shown| {
        let place = shown.app.selected_limb().unwrap();
        shown.app.picture.label(shown.app.picture.limbs.get(place).unwrap().label).to_owned()
    };
    assert!(selected(&shown).starts_with("JSONDecoder.decode"));
    shown.press(&[Key::Char('n')]);
    assert!(selected(&shown).starts_with("JSONDecoder.decode"));
    shown.press(&[Key::Char('/')]);
    shown.type_in("?");
    shown.press(&[Key::Ctrl('u')]);
    shown.type_in("no such thing");
    shown.press(&[Key::Enter]);
    assert!(shown.app.message.as_ref().unwrap().contains("nowhere"));
}

#[test]
fn what_is_shown_is_what_an_export_of_it_says() {
    let mut shown = Shown::new(120, 40);
    for keys in [&[][..], &[Key::Char('c')], &[Key::Char('l')], &[Key::Char('i')]] {
        shown.press(keys);
        let picture = &shown.app.picture;
        let options = picture.query.exported();
        let view = View::new(&shown.recording, &options).unwrap();
        let tree = Tree::of(&view);
        let totals = tree.top(&view);
        assert_eq!((picture.whole.all, picture.functions.len()), (tree.total(), totals.len()));
        for total in totals {
            let text = view.row(total.row).unwrap().text();
            let shown = picture.functions.iter().find(|it| it.label == total.row.index()).unwrap();
            assert_eq!((shown.all.own, shown.all.total), (total.own, total.total), "{text}");
        }
        // What the root has, its children have in sum.
        let roots = picture.limbs.roots.iter().map(|root| picture.limbs.all[*root].all.total);
        assert_eq!(roots.sum::<u64>(), tree.total());
        assert!(share(picture.whole.now, picture.whole.all) <= 1.0);
    }
}

#[test]
fn the_documentation_has_the_table_of_keys() {
    let mut table = String::new();
    for binding in KEYS {
        let keys: Vec<String> = binding.keys.iter().map(|key| format!("`{}`", key.name())).collect();
        table += &format!("| {} | {} |\n", keys.join(" "), binding.sentence());
    }
    let page = include_str!("../docs/top.md");
    assert!(page.contains(&table), "docs/top.md lacks this table:\n{table}");
}
