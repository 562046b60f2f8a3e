//! Opening a data set, whatever its form.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::cache::{self, Cache};
use crate::decode::Cutter;
use crate::files::{Disk, Files};
use crate::listing::{Decoded, Listing};
use crate::message::shown;
use crate::peers::{Alone, Peers, all};
use crate::{CacheStatus, Dataset, Error, OpenOptions, Result, ckplus, classes, folder, kaggle, synthetic};

/// What stands for faces that are drawn where a data set could be named.
pub const SYNTHETIC: &str = "synthetic";

/// Where faces are to be read from.
enum Source {
    Csv(PathBuf),
    Images(Listing),
}

impl Dataset {
    /// Opens the data set named by `spec`: `synthetic`, or the path of
    ///
    /// - a FER2013 CSV file, or a folder with `fer2013.csv` or `icml_face_data.csv` in it;
    /// - the CK+ tree (`cohn-kanade-images` and `Emotion`), all of it in `train`;
    /// - a folder `<split>/<class>/*` of images, with split names as [`Split`](crate::Split) reads them;
    /// - a folder `<class>/*` of images, all of it in `train`, to be cut with [`Dataset::fold`].
    ///
    /// Class folders are matched by synonyms and sorted as [`classes`] tells. Images of any size are
    /// accepted (see [`crate::decode`]), and cut by [`OpenOptions::cutter`]. Other files and folders, and
    /// single broken images, are left out and listed in `skipped`.
    ///
    /// # Errors
    /// A path that does not exist or holds no faces, rows or columns that are wrong (naming them),
    /// two folders for one split or class, a class without a readable image, and more than one image
    /// in ten unreadable. The cache never is a reason to fail.
    pub fn open(spec: &str, options: &OpenOptions) -> Result<Self> {
        Self::open_with(spec, options, &Alone)
    }

    /// The same for one of several processes, which all open it with the same options and get the same: of a folder
    /// that is not packed yet each decodes its share of the images, a CSV file is read by the first one. The copy is
    /// written once on each machine.
    ///
    /// # Errors
    /// As [`Dataset::open`]. A process that fails alone leaves the others waiting: its caller has to end them.
    pub fn open_with(spec: &str, options: &OpenOptions, peers: &dyn Peers) -> Result<Self> {
        let mut dataset = if spec == SYNTHETIC {
            synthetic::dataset(options.seed, options.synthetic_per_class)?
        } else {
            Self::open_path(Path::new(spec), options, peers)?
        };
        if let Some(cap) = options.cap {
            if cap == 0 {
                return Err(Error::invalid("cap", "at least 1 face per split", cap));
            }
            for faces in dataset.splits_mut() {
                if faces.len() > cap {
                    *faces = faces.capped(cap);
                }
            }
        }
        Ok(dataset)
    }

    fn open_path(path: &Path, options: &OpenOptions, peers: &dyn Peers) -> Result<Self> {
        let source = Source::find(path, options)?;
        let folder = options.cache.as_deref();
        let cache = folder
            .map(|folder| Ok(Cache::new(folder, path, source.fingerprint(options.cutter)?)))
            .transpose()?;
        // All or none of them, here and below: who decides otherwise than the others waits for them in vain.
        let cache = all_of(peers, cache);
        if let Some(dataset) = all_of(peers, cache.as_ref().and_then(Cache::load)) {
            return Ok(dataset);
        }
        let mut dataset = source.load(path, options.cutter, peers)?;
        let Some(cache) = &cache else { return Ok(dataset) };
        // What cannot even be opened now may be read next time: it is not to be missing from then on.
        if !all(peers, dataset.skipped.iter().all(|skipped| File::open(&skipped.path).is_ok())) {
            return Ok(dataset);
        }
        let store = |dataset: &Self| match cache.store(dataset) {
            Ok(()) => CacheStatus::Written(cache.path().to_path_buf()),
            Err(error) => CacheStatus::Failed(format!("{}: {error}", shown(cache.path()))),
        };
        if peers.rank() == 0 {
            dataset.cache = store(&dataset);
        }
        // The first one has written; another machine's need a copy of their own. Then all share its memory.
        all(peers, true);
        if peers.rank() > 0 {
            dataset = cache.load().unwrap_or_else(|| Self { cache: store(&dataset), ..dataset });
        }
        Ok(dataset)
    }
}

impl Source {
    fn find(path: &Path, options: &OpenOptions) -> Result<Self> {
        let metadata = path.metadata().map_err(|source| Error::io(path, source))?;
        if !metadata.is_dir() {
            let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
            return if is_csv && metadata.is_file() {
                Ok(Self::Csv(path.to_path_buf()))
            } else {
                Err(Error::NotADataset { path: path.to_path_buf() })
            };
        }
        for name in ["fer2013.csv", "icml_face_data.csv"] {
            let csv = path.join(name);
            if csv.is_file() {
                return Ok(Self::Csv(csv));
            }
        }
        list(&Disk, path, options.neutral_first_frame).map(Self::Images)
    }

    fn fingerprint(&self, cutter: Option<Cutter>) -> Result<u64> {
        match self {
            Self::Csv(path) => cache::of_file(path),
            Self::Images(listing) => cache::of_listing(listing, cutter),
        }
    }

    fn load(self, root: &Path, cutter: Option<Cutter>, peers: &dyn Peers) -> Result<Dataset> {
        let name = name_of(root);
        let path = match self {
            Self::Images(listing) => return decode(&Disk, listing, root, name, cutter, peers),
            Self::Csv(path) => path,
        };
        let read = || {
            let classes = classes::FER2013.map(str::to_owned).to_vec();
            Ok(Dataset::new(name, classes, kaggle::read(&path)?))
        };
        if peers.size() == 1 {
            return read();
        }
        // Rows have to be parsed to be found.
        let mut packed = Vec::new();
        if peers.rank() == 0 {
            cache::write(&mut packed, &read()?, 0).map_err(|source| Error::io(&path, source))?;
        }
        let packed = peers.gather(packed).swap_remove(0);
        cache::open(packed.into(), 0).ok_or(Error::Peers)
    }
}

/// What is there, if all peers have it.
fn all_of<T>(peers: &dyn Peers, ours: Option<T>) -> Option<T> {
    let everywhere = all(peers, ours.is_some());
    ours.filter(|_| everywhere)
}

/// Lists a folder: the CK+ tree, or folders of classes.
pub(crate) fn list(files: &impl Files, root: &Path, neutral_first_frame: bool) -> Result<Listing> {
    match ckplus::Tree::find(files, root) {
        Some(tree) => tree.list(files, root, neutral_first_frame),
        None => folder::list(files, root),
    }
}

/// Reads what a listing names.
pub(crate) fn decode(
    files: &impl Files,
    listing: Listing,
    root: &Path,
    name: String,
    cutter: Option<Cutter>,
    peers: &dyn Peers,
) -> Result<Dataset> {
    let classes = listing.classes.clone();
    let Decoded { splits, skipped, uncut } = listing.decode(files, root, cutter, peers)?;
    Ok(Dataset { skipped, uncut, ..Dataset::new(name, classes, splits) })
}

/// The last component of the path, also for `.` and `..`.
pub(crate) fn name_of(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    absolute.file_name().map_or_else(|| "faces".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::tests::write_face;
    use crate::peers::tests::together;
    use crate::{PIXELS, Split};
    use std::fs;
    use std::io::Write;

    fn csv(rows: &[(u8, &str)]) -> String {
        let pixels = vec!["9"; PIXELS].join(" ");
        let rows: Vec<String> =
            rows.iter().map(|(label, usage)| format!("{label},{pixels},{usage}\n")).collect();
        format!("emotion,pixels,Usage\n{}", rows.concat())
    }

    fn open(path: &Path, options: &OpenOptions) -> Result<Dataset> {
        Dataset::open(path.to_str().unwrap(), options)
    }

    #[test]
    fn a_csv_by_its_path_or_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("icml_face_data.csv");
        fs::write(&path, csv(&[(3, "Training"), (0, "Training"), (6, "PrivateTest")])).unwrap();
        let options = OpenOptions::default();
        let data = open(&path, &options).unwrap();
        assert_eq!(data.name, "icml_face_data.csv");
        assert_eq!(data.classes, classes::FER2013);
        assert_eq!((data.train.len(), data.test.as_ref().unwrap().len()), (2, 1));
        assert_eq!(open(folder.path(), &options).unwrap().train, data.train);

        let error = data.split(Split::Validation).unwrap_err().to_string();
        assert!(error.contains("no validation split; it has: train, test"), "{error}");
        assert_eq!(data.split(Split::Test).unwrap().labels, [6]);
    }

    #[test]
    fn other_specs_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions::default();
        let missing = folder.path().join("missing");
        assert!(matches!(open(&missing, &options), Err(Error::NotFound { path }) if path == missing));
        let text = folder.path().join("notes.txt");
        fs::write(&text, "notes").unwrap();
        assert!(matches!(open(&text, &options), Err(Error::NotADataset { path }) if path == text));
        let error = open(folder.path(), &options).unwrap_err();
        assert!(matches!(&error, Error::Empty { .. }) && error.to_string().contains("per class"), "{error}");
    }

    #[test]
    fn the_cap_holds_for_each_split() {
        let options = OpenOptions { synthetic_per_class: 20, cap: Some(14), ..OpenOptions::default() };
        let data = Dataset::open("synthetic", &options).unwrap();
        assert_eq!(data.train.counts(7), [2; 7]);
        assert_eq!(data.test.unwrap().counts(7), [2; 7]);
        assert!(Dataset::open("synthetic", &OpenOptions { cap: Some(0), ..options }).is_err());
    }

    #[test]
    fn the_cache_is_written_hit_and_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        for (class, value) in [("happy", 10), ("sad", 20)] {
            for i in 0..3 {
                write_face(&root.join(class).join(format!("{i}.png")), value + i);
            }
        }
        let options = OpenOptions { cache: Some(folder.path().join("cache")), ..OpenOptions::default() };
        let plain = open(&root, &OpenOptions::default()).unwrap();
        let first = open(&root, &options).unwrap();
        let CacheStatus::Written(file) = first.cache.clone() else { panic!("{:?}", first.cache) };
        let second = open(&root, &options).unwrap();
        assert_eq!(second.cache, CacheStatus::Hit(file.clone()));
        assert_eq!(Dataset { cache: CacheStatus::Unused, ..second }, plain);

        // A new, a changed and a removed image each make the copy stale.
        let changes: [&dyn Fn(); 3] = [
            &|| write_face(&root.join("sad/9.png"), 99),
            &|| fs::write(root.join("sad/9.png"), fs::read(root.join("happy/0.png")).unwrap()).unwrap(),
            &|| fs::remove_file(root.join("sad/9.png")).unwrap(),
        ];
        for (change, count) in changes.into_iter().zip([7, 7, 6]) {
            change();
            let data = open(&root, &options).unwrap();
            assert_eq!(data.cache, CacheStatus::Written(file.clone()));
            assert_eq!(data.train.len(), count);
        }

        fs::write(&file, b"MOUEFACE and then something else").unwrap();
        assert_eq!(open(&root, &options).unwrap().cache, CacheStatus::Written(file));
        assert!(matches!(open(&root, &options).unwrap().cache, CacheStatus::Hit(_)));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_only_reported() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        write_face(&root.join("happy/1.png"), 1);
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, "a file where the folder should be").unwrap();
        let options = OpenOptions { cache: Some(blocked), ..OpenOptions::default() };
        let data = open(&root, &options).unwrap();
        assert!(
            matches!(&data.cache, CacheStatus::Failed(reason) if reason.contains("blocked")),
            "{:?}",
            data.cache
        );
        assert_eq!(data.train.len(), 1);
    }

    #[test]
    fn the_real_fer2013_folder() {
        let Some(root) = std::env::var_os("MOUE_FER2013") else {
            // Straight to stderr: the test harness would swallow eprintln! of a test that passes.
            let note = "SKIPPED the_real_fer2013_folder: set MOUE_FER2013 to the folder with train and test";
            writeln!(std::io::stderr(), "{note}").unwrap();
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { cache: Some(folder.path().to_path_buf()), ..OpenOptions::default() };
        let data = open(Path::new(&root), &options).unwrap();
        assert_eq!(data.classes, classes::FER2013);
        assert_eq!(data.train.counts(7), [3995, 436, 4097, 7215, 4830, 3171, 4965]);
        assert_eq!(data.split(Split::Test).unwrap().counts(7), [467, 56, 496, 895, 653, 415, 607]);
        assert!(data.skipped.is_empty() && matches!(data.cache, CacheStatus::Written(_)));
        let again = open(Path::new(&root), &options).unwrap();
        assert!(matches!(again.cache, CacheStatus::Hit(_)));
        assert!(again.train == data.train && again.test == data.test);
        for fold in 0..5 {
            let (train, test) = data.fold(5, fold).unwrap();
            assert_eq!(train.len() + test.len(), 28_709);
            assert!(test.len().abs_diff(5742) <= 1);
        }
    }

    /// A cutter that finds faces in some pictures only; its packed copy is not taken for one of whole pictures.
    #[test]
    fn pictures_are_cut_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        for (class, value) in [("happy", 10), ("sad", 99), ("sad", 20)] {
            write_face(&root.join(class).join(format!("{value}.png")), value);
        }
        let bright = |picture: &image::GrayImage| {
            let value = picture.get_pixel(0, 0).0[0];
            (value > 15).then_some([value + 100; PIXELS])
        };
        let cutter = Some(Cutter { name: "bright", cut: bright });
        let cache = Some(folder.path().join("cache"));
        let whole = OpenOptions { cache: cache.clone(), ..OpenOptions::default() };
        let cut = OpenOptions { cache, cutter, ..OpenOptions::default() };
        let first = |options: &OpenOptions| {
            let Dataset { train, uncut, .. } = open(&root, options).unwrap();
            (train.pixels.chunks(PIXELS).map(|face| face[0]).collect::<Vec<u8>>(), uncut)
        };
        for _ in 0..2 {
            assert_eq!(first(&whole), (vec![10, 20, 99], 0));
            assert_eq!(first(&cut), (vec![10, 120, 199], 1));
            // From the copy.
            assert_eq!(first(&cut), (vec![10, 120, 199], 1));
        }
        let opened = together(2, |peers| Dataset::open_with(root.to_str().unwrap(), &cut, peers).unwrap());
        assert!(opened.iter().all(|dataset| dataset.uncut == 1 && dataset.train.face(2)[0] == 199));
    }

    /// Three processes get what one gets: without a copy, while it is written, and from it; also of a CSV, and where the
    /// copy is damaged in the share of one of them.
    #[test]
    fn processes_open_together_what_one_opens() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("faces");
        for (class, value) in [("happy", 10), ("sad", 20)] {
            (0..11).for_each(|i| write_face(&root.join(class).join(format!("{i}.png")), value + i));
        }
        fs::write(root.join("sad/99.png"), "no image").unwrap();
        let table = folder.path().join("faces.csv");
        fs::write(&table, csv(&[(3, "Training"), (0, "Training"), (6, "PrivateTest")])).unwrap();
        for source in [&root, &table] {
            let alone = open(source, &OpenOptions::default()).unwrap();
            let cache = folder.path().join("cache");
            let options = OpenOptions { cache: Some(cache.clone()), ..OpenOptions::default() };
            // What became of the cache, by the first of them.
            let shared = |options: &OpenOptions| {
                let open = |peers: &dyn Peers| Dataset::open_with(source.to_str().unwrap(), options, peers);
                let opened: Vec<Dataset> = together(3, |peers| open(peers).unwrap());
                let status = opened[0].cache.clone();
                for dataset in opened {
                    assert_eq!(Dataset { cache: CacheStatus::Unused, ..dataset }, alone);
                }
                status
            };
            assert_eq!(shared(&OpenOptions::default()), CacheStatus::Unused);
            let CacheStatus::Written(file) = shared(&options) else { panic!("not written") };
            assert_eq!(shared(&options), CacheStatus::Hit(file.clone()));
            let mut bytes = fs::read(&file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&file, bytes).unwrap();
            assert_eq!(shared(&options), CacheStatus::Written(file));
            // One without a cache, and one with a folder of its own: as on another machine.
            let own = folder.path().join("own");
            let opened = together(3, |peers| {
                let cache = [Some(&cache), None, Some(&own)][peers.rank()].cloned();
                Dataset::open_with(
                    source.to_str().unwrap(),
                    &OpenOptions { cache, ..OpenOptions::default() },
                    peers,
                )
            });
            assert!(opened.into_iter().all(|dataset| dataset.unwrap().cache == CacheStatus::Unused));
            let opened = together(3, |peers| {
                let cache = Some([&cache, &cache, &own][peers.rank()].clone());
                Dataset::open_with(
                    source.to_str().unwrap(),
                    &OpenOptions { cache, ..OpenOptions::default() },
                    peers,
                )
            });
            let status: Vec<CacheStatus> = opened.into_iter().map(|dataset| dataset.unwrap().cache).collect();
            let [CacheStatus::Written(first), CacheStatus::Hit(same), CacheStatus::Written(other)] =
                &status[..]
            else {
                panic!("{status:?}")
            };
            assert!(first == same && first != other, "{status:?}");
            fs::remove_dir_all(&cache).unwrap();
            fs::remove_dir_all(&own).unwrap();
        }
    }
}
