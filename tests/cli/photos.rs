//! `moue predict` on photos: faces are found, whatever the file, and pictures of the results are written.

use crate::harness::*;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, RgbaImage};
use moue::datasets::Split;
use moue::datasets::classes::FER2013;
use serde_json::{Value, json};
use std::fs;
use std::io::{Cursor, Write};
use std::process::{Output, Stdio};
use tempfile::TempDir;

/// A photo of one person, 400 x 400.
const ASTRONAUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/astronaut.jpg");
/// Her face: x, y, side.
const FACE: [i64; 3] = [138, 53, 75];

fn astronaut() -> RgbImage {
    image::open(ASTRONAUT).unwrap().into_rgb8()
}

/// `moue predict` with weights that have learned little: what faces are there does not depend on them.
fn predict(arguments: &[&str]) -> Output {
    succeed(&[&["predict", "--weights", text(&best())], arguments].concat())
}

fn results(arguments: &[&str]) -> Vec<Value> {
    let output = predict(&[arguments, &["--json"]].concat());
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    object["results"].as_array().unwrap().clone()
}

/// Asserts that the box lies where the face does, `scale` times as far and as large, within a tenth of its side.
fn assert_place(face: &Value, [x, y, side]: [i64; 3], scale: f64) {
    let place: [f64; 4] = serde_json::from_value(face["box"].clone()).unwrap();
    let want = [x, y, side, side].map(|v| v as f64 * scale);
    let close = place.iter().zip(want).all(|(a, b)| (a - b).abs() <= 0.1 * side as f64 * scale);
    assert!(close, "{place:?} in place of {want:?}");
}

#[test]
fn a_photo_becomes_its_face() {
    let results = results(&[ASTRONAUT]);
    assert_eq!(results.len(), 1);
    assert_eq!((&results[0]["path"], &results[0]["error"]), (&json!(ASTRONAUT), &Value::Null));
    let faces = results[0]["faces"].as_array().unwrap();
    assert_eq!(faces.len(), 1);
    assert_place(&faces[0], FACE, 1.0);
    let p: Vec<f64> = FER2013.iter().map(|c| faces[0]["probabilities"][c].as_f64().unwrap()).collect();
    assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    let whole = self::results(&[ASTRONAUT, "--face", "whole"]);
    assert_eq!(whole[0]["faces"][0]["box"], json!([0, 0, 400, 400]));
    let line = String::from_utf8(predict(&[ASTRONAUT]).stdout).unwrap();
    assert!(line.starts_with(&format!("{ASTRONAUT} [1")) && line.lines().count() == 1, "{line}");
}

/// Without --weights, those that ship: the first command of a new user.
#[test]
fn the_astronaut_is_happy() {
    let face = &json(&["predict", ASTRONAUT])["results"][0]["faces"][0];
    assert_eq!(face["label"], "happy");
    assert!(face["probabilities"]["happy"].as_f64().unwrap() > 0.8, "{face}");
}

#[test]
fn a_group_has_many_faces() {
    let folder = TempDir::new().unwrap();
    let mut group = RgbImage::from_pixel(900, 400, Rgb([90, 120, 90]));
    for x in [20, 460] {
        image::imageops::replace(&mut group, &astronaut(), x, 0);
    }
    let path = folder.path().join("group.png");
    group.save(&path).unwrap();
    let results = results(&[text(&path)]);
    let mut faces = results[0]["faces"].as_array().unwrap().clone();
    faces.sort_by_key(|face| face["box"][0].as_u64());
    assert_eq!(faces.len(), 2);
    assert_place(&faces[0], [FACE[0] + 20, FACE[1], FACE[2]], 1.0);
    assert_place(&faces[1], [FACE[0] + 460, FACE[1], FACE[2]], 1.0);
}

/// A JPEG with an Exif orientation.
fn turned(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    let mut bytes = bytes.into_inner();
    let tiff = [
        &b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01"[..],
        &[0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0],
        &[0, 0, 0, 0],
    ]
    .concat();
    let length = (tiff.len() as u16 + 2).to_be_bytes();
    bytes.splice(2..2, [&[0xff, 0xe1][..], &length, &tiff].concat());
    bytes
}

/// Whatever the file holds, boxes are those of the picture as it is seen.
#[test]
fn odd_files_show_the_same_face() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let photo = astronaut();
    let grey = DynamicImage::from(photo.clone()).into_luma8();
    // Orientation 6: to be seen, it is turned a quarter clockwise.
    fs::write(path("a-turned.jpg"), turned(&image::imageops::rotate270(&photo), 6)).unwrap();
    let see_through = RgbaImage::from_fn(400, 400, |x, y| {
        let Rgb([r, g, b]) = *photo.get_pixel(x, y);
        // What is transparent is black, as editors leave it.
        if y < 250 { image::Rgba([r, g, b, 255]) } else { image::Rgba([0; 4]) }
    });
    see_through.save(path("b-alpha.png")).unwrap();
    let deep =
        image::ImageBuffer::from_fn(400, 400, |x, y| Luma([u16::from(grey.get_pixel(x, y).0[0]) * 257]));
    DynamicImage::ImageLuma16(deep).save(path("c-16bit.png")).unwrap();
    let mut gif = image::codecs::gif::GifEncoder::new(fs::File::create(path("d-animated.gif")).unwrap());
    let first = DynamicImage::from(photo.clone()).into_rgba8();
    gif.encode_frames([first, RgbaImage::new(400, 400)].map(image::Frame::new)).unwrap();
    drop(gif);
    // JPEG in a file called PNG.
    fs::copy(ASTRONAUT, path("e-jpeg.png")).unwrap();
    for result in results(&[text(folder.path())]) {
        let faces = result["faces"].as_array().unwrap();
        assert_eq!(faces.len(), 1, "{result}");
        assert_place(&faces[0], FACE, 1.0);
    }
    // Four colours, and a crop: the face is at (138 - 101.6, ..) * 96 / 148.4 there.
    let cmyk = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cmyk.jpg");
    let cmyk = results(&[cmyk]);
    assert_place(&cmyk[0]["faces"][0], [24, 25, 48], 1.0);
    assert_eq!(cmyk[0].get("note"), None);
}

/// Larger than the detector looks at, in both ways.
#[test]
fn large_pictures_are_searched_in_a_copy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("large.png");
    let large = image::imageops::resize(&astronaut(), 3000, 3000, image::imageops::FilterType::Nearest);
    large.save(&path).unwrap();
    let results = results(&[text(&path)]);
    assert_place(&results[0]["faces"][0], FACE, 7.5);
    // Too small a copy for this face: 75 of 400 pixels become 12 of 64.
    let coarse = self::results(&[text(&path), "--detail", "64"]);
    assert_eq!(coarse[0]["faces"], json!([]));
}

#[test]
fn a_picture_without_a_face_has_none() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let stripes = |side| GrayImage::from_fn(side, side, |x, _| Luma([(x * 9) as u8]));
    stripes(200).save(path("large.png")).unwrap();
    stripes(100).save(path("small.png")).unwrap();
    let results = results(&[text(folder.path())]);
    assert_eq!((&results[0]["faces"], &results[0]["error"]), (&json!([]), &Value::Null));
    assert_eq!(results[0]["note"], "no face found");
    assert_eq!(results[1]["faces"][0]["box"], json!([0, 0, 100, 100]));
    assert!(results[1]["note"].as_str().unwrap().contains("whole picture"));
    let output = predict(&[text(&path("large.png"))]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{}: no face found\n", text(&path("large.png")))
    );
    let detected = self::results(&[text(&path("small.png")), "--face", "detect"]);
    assert_eq!(detected[0]["faces"], json!([]));
}

/// One broken file in ten, of every kind, and each has its error.
#[test]
fn broken_files_do_not_stop_the_others() {
    let folder = TempDir::new().unwrap();
    folder_of_faces(folder.path(), &[Split::Test], &FER2013, 6);
    let photo = fs::read(ASTRONAUT).unwrap();
    let bomb = bomb();
    let broken: [(&str, &[u8]); 5] = [
        ("empty.jpg", b""),
        ("text.jpg", b"Not a picture, just words."),
        ("cut.jpg", &photo[..photo.len() / 2]),
        ("header.png", b"\x89PNG\r\n\x1a\n"),
        ("bomb.png", &bomb),
    ];
    for (name, bytes) in broken {
        fs::write(folder.path().join("test").join(name), bytes).unwrap();
    }
    fs::write(folder.path().join("test/.hidden.png"), "left out").unwrap();
    let output = predict(&["--json", text(folder.path())]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let results = object["results"].as_array().unwrap();
    assert_eq!(results.len(), 42 + broken.len());
    let (failed, right): (Vec<_>, Vec<_>) = results.iter().partition(|r| r["error"].is_string());
    assert_eq!(failed.len(), broken.len());
    assert!(right.iter().all(|r| r["faces"].as_array().unwrap().len() == 1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), broken.len(), "{stderr}");
    for (name, _) in broken {
        assert!(stderr.contains(name) && failed.iter().any(|r| r["path"].as_str().unwrap().ends_with(name)));
    }
}

/// A small file that promises more columns than are decoded.
fn bomb() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::new(17_000, 1).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn copies_show_the_boxes_and_originals_stay() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("in/deep")).unwrap();
    fs::copy(ASTRONAUT, path("in/deep/a.jpg")).unwrap();
    GrayImage::new(300, 200).save(path("in/b.bmp")).unwrap();
    fs::write(path("in/c.png"), "broken").unwrap();
    predict(&[text(&path("in")), "--annotate", text(&path("out"))]);
    let copy = image::open(path("out/deep/a.jpg")).unwrap().into_rgb8();
    let photo = astronaut();
    assert_eq!(copy.dimensions(), photo.dimensions());
    let change = |left: u32, top: u32, width: u32, height: u32| {
        let part = |picture: &RgbImage| {
            image::imageops::crop_imm(picture, left, top, width, height).to_image().into_raw()
        };
        part(&copy).iter().zip(part(&photo)).map(|(a, b)| a.abs_diff(b)).max().unwrap()
    };
    // The label above the box is dark on bright or bright on dark; the face in the box stays as it was, but for JPEG.
    let (label, face) = (change(138, 40, 75, 12), change(150, 80, 50, 40));
    assert!(label > 100 && face < 40, "{label} {face}");
    assert_eq!(image::open(path("out/b.png")).unwrap().into_luma8(), GrayImage::new(300, 200));
    assert!(!path("out/c.png").exists());
    assert_eq!(fs::read(path("in/deep/a.jpg")).unwrap(), fs::read(ASTRONAUT).unwrap());

    let (weights, original) = (best(), path("in/deep/a.jpg"));
    let arguments = ["predict", "--quiet", "--weights", text(&weights), text(&original), "--annotate"];
    let message = failure(&[&arguments[..], &[text(&path("in/deep"))]].concat(), 1);
    assert!(message.contains("a.jpg") && message.contains("replace"), "{message}");
    assert_eq!(fs::read(path("in/deep/a.jpg")).unwrap(), fs::read(ASTRONAUT).unwrap());
    // Heat maps are PNG files.
    let (png, same) = (path("d.png"), path("same"));
    astronaut().save(&png).unwrap();
    let before = fs::read(&png).unwrap();
    for option in ["--annotate", "--explain"] {
        let arguments = ["predict", "--quiet", "--weights", text(&weights), text(&png), option];
        let message = failure(&[&arguments[..], &[text(folder.path())]].concat(), 1);
        assert!(message.contains("d.png") && message.contains("replace"), "{message}");
        assert!(fs::read(&png).unwrap() == before);
    }
    // A picture of somebody else's stays, one of an earlier call is replaced.
    let two = path("two");
    fs::create_dir(&two).unwrap();
    fs::copy(ASTRONAUT, two.join("astronaut.jpg")).unwrap();
    let message = failure(&["predict", "--quiet", ASTRONAUT, "--annotate", text(&two)], 1);
    assert!(message.contains("astronaut.jpg") && message.contains("not moue's"), "{message}");
    // What was told of it before is a whole object.
    let output = run(&["predict", "--json", ASTRONAUT, "--annotate", text(&two)]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["results"][0]["faces"][0]["label"]), (Some(1), &"happy".into()));
    assert_eq!(fs::read(two.join("astronaut.jpg")).unwrap(), fs::read(ASTRONAUT).unwrap());
    for _ in 0..2 {
        // What is below the folder that is searched is not taken for its pictures.
        let found = results(&[text(&path("in")), "--annotate", text(&path("in/seen"))]);
        assert_eq!(found.len(), 3, "{found:?}");
    }
    let message = failure(&["predict", ASTRONAUT, "--annotate", text(&same), "--explain", text(&same)], 2);
    assert!(message.contains("--annotate and --explain"), "{message}");
}

#[test]
fn explanations_are_drawn_for_each_face() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("why");
    predict(&[ASTRONAUT, ASTRONAUT, "--explain", text(&out)]);
    for name in ["astronaut.png", "astronaut-2.png"] {
        let picture = image::open(out.join(name)).unwrap().into_rgb8();
        // Face, attention and Grad-CAM.
        assert_eq!(picture.width(), 3 * (240 + 8) + 8);
        let coloured = |left: u32| {
            let panel = image::imageops::crop_imm(&picture, left, 16, 240, 240).to_image();
            panel.pixels().filter(|Rgb([r, _, b])| r != b).count()
        };
        assert_eq!(coloured(8), 0, "the face is grey");
        assert!(coloured(256) > 1000, "the attention is not");
    }
    let weights = best();
    let arguments =
        ["predict", "--weights", text(&weights), ASTRONAUT, "--explain", text(&out), "--explain-layer"];
    let message = failure(&[&arguments[..], &["block9"]].concat(), 2);
    assert!(message.contains("block9") && message.contains("block3"), "{message}");
}

#[test]
fn patterns_lists_and_stdin() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    folder_of_faces(folder.path(), &[Split::Test], &["angry", "disgust"], 2);
    let names = |results: &[Value]| {
        let name = |r: &Value| {
            let path = r["path"].as_str().unwrap();
            path.strip_prefix(text(folder.path())).unwrap_or(path).to_owned()
        };
        results.iter().map(name).collect::<Vec<_>>()
    };
    let found = results(&[text(&path("test/*/*.png"))]);
    assert_eq!(names(&found).len(), 4);
    let in_folder = results(&[text(&path("test"))]);
    assert_eq!(names(&found), names(&in_folder));
    assert_eq!(found, in_folder, "the same faces are the same whichever way they come");
    let one_thread = results(&[text(&path("test")), "--threads", "1"]);
    assert_eq!(found, one_thread);
    // A file with a star in its name is itself.
    fs::copy(ASTRONAUT, path("a*b.jpg")).unwrap();
    assert_eq!(names(&results(&[text(&path("a*b.jpg"))])), ["/a*b.jpg"]);

    let list = format!("{}\n\n{}\r\n{}", text(&path("test/angry")), ASTRONAUT, text(&path("none.png")));
    fs::write(path("list"), &list).unwrap();
    let listed = results(&["--files-from", text(&path("list"))]);
    assert_eq!(listed.len(), 4);
    assert!(listed[3]["error"].is_string() && listed[2]["faces"].as_array().unwrap().len() == 1);
    assert_eq!(with_stdin(&["--files-from", "-"], list.as_bytes()), listed);

    let photo = fs::read(ASTRONAUT).unwrap();
    let piped = with_stdin(&["-"], &photo);
    assert_eq!(piped[0]["path"], "-");
    assert_eq!(piped[0]["faces"], listed[2]["faces"]);
    let weights = best();
    let message = failure(&["predict", "--weights", text(&weights), "--files-from", text(&path("gone"))], 1);
    assert!(message.contains("gone"), "{message}");
    let nothing = run(&["predict", "--weights", text(&weights), text(&path("x*.png"))]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("no file matches"));
}

fn with_stdin(arguments: &[&str], bytes: &[u8]) -> Vec<Value> {
    let weights = best();
    let arguments = [&["predict", "--json", "--weights", text(&weights)], arguments].concat();
    let mut child = moue(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    object["results"].as_array().unwrap().clone()
}

#[test]
fn csv_has_a_row_a_face() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::copy(ASTRONAUT, path("a, \"b\".jpg")).unwrap();
    fs::write(path("c.png"), "broken").unwrap();
    GrayImage::new(300, 200).save(path("d.png")).unwrap();
    let output = predict(&["--csv", text(folder.path())]);
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    let header =
        "path,frame,face,track,x,y,width,height,label,angry,disgust,fear,happy,sad,surprise,neutral,note";
    assert_eq!((rows.len(), rows[0]), (4, header));
    assert!(
        rows[1].starts_with(&format!("\"{}/a, \"\"b\"\".jpg\",,0,,", text(folder.path()))),
        "{}",
        rows[1]
    );
    assert!(rows[2].contains(&format!("c.png{}The image format", ",".repeat(16))), "{}", rows[2]);
    assert!(rows[3].ends_with(",,,,no face found"), "{}", rows[3]);
    let fields = rows[3].split(',').count();
    assert_eq!(fields, header.split(',').count());
}
