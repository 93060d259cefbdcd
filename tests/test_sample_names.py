"""Names and maps of an instrument's recordings say what musicians mean by them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgs_cli.errors import InputError
from hgs_cli.multisample.maps import MappedSample, facts_of_map, read_map
from hgs_cli.multisample.names import SampleFacts, common_name, read_names
from hgs_cli.pitch import note_tag

FOLDER = Path("libraries", "Grand")
Said = tuple[float | None, int | None, str, int]  # key, layer, dynamic, take


def read(*names: str, middle_c: int = 4) -> list[Said]:
    paths = [FOLDER / name for name in names]
    facts = read_names(paths, middle_c)
    assert [one.path for one in facts] == paths
    return [said(one) for one in facts]


def said(facts: SampleFacts) -> Said:
    return facts.key, facts.layer, facts.dynamic, facts.take


def keys(*names: str, middle_c: int = 4) -> list[float | None]:
    return [key for key, *_ in read(*names, middle_c=middle_c)]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ({"A0v1.wav": (21, 0, "v1", 0), "A0v2.wav": (21, 1, "v2", 0), "A0v10.wav": (21, 2, "v10", 0),
          "D#4v16.wav": (63, 3, "v16", 0)}, "Grand"),
        ({"Trumpet_sus_C4_v2_rr1.wav": (60, 1, "v2", 0), "Trumpet_sus_C4_v1_rr1.wav": (60, 0, "v1", 0),
          "Trumpet_sus_C4_v1_rr2.wav": (60, 0, "v1", 1), "Trumpet_sus_F#4_v1_rr1.wav": (66, 0, "v1", 0)},
         "Trumpet_sus"),
        ({"MOHorn_mute_A#1_v1_1.wav": (34, 0, "v1", 0), "MOHorn_mute_C3_v2_1.wav": (48, 1, "v2", 0)}, "MOHorn_mute"),
        ({"Cello.arco.mf.sulC.C2.aif": (36, 1, "mf", 0), "Cello.arco.ff.sulG.Gb3.aif": (54, 2, "ff", 0),
          "Cello.arco.pp.sulG.G3.aif": (55, 0, "pp", 0)}, "Cello.arco"),
        ({"cello_As2_1_forte_arco-normal.mp3": (46, 3, "forte", 0), "cello_As2_1_piano_arco-normal.mp3":
          (46, 1, "piano", 0), "cello_C3_1_mezzo-forte_arco-normal.mp3": (48, 2, "mezzo-forte", 0),
          "cello_C3_025_pianissimo_arco-normal.mp3": (48, 0, "pianissimo", 0)}, "cello"),
        ({"KSHarp_G1_mp.wav": (31, 1, "mp", 0), "KSHarp_A2_mf.wav": (45, 2, "mf", 0),
          "KSHarp_A4_p.wav": (69, 0, "p", 0)}, "KSHarp"),
        ({"Piano C#3 mf RR2.wav": (49, 1, "mf", 1), "Piano C#3 mf RR1.wav": (49, 1, "mf", 0),
          "Piano E3 p RR1.wav": (52, 0, "p", 0)}, "Piano"),
        ({"Piano.ff.Bb4.aiff": (70, 1, "ff", 0), "Piano.pp.Bb4.aiff": (70, 0, "pp", 0)}, "Piano"),
        ({"Piano_forte_C4.wav": (60, 1, "forte", 0), "Piano_piano_C4.wav": (60, 0, "piano", 0)}, "Piano"),
        ({"060_loud.flac": (60, 1, "loud", 0), "060_soft.flac": (60, 0, "soft", 0),
          "064_soft.flac": (64, 0, "soft", 0)}, "Grand"),
        ({"guitar_acoustic_001-060-127.wav": (60, 1, "127", 0), "guitar_acoustic_001-064-025.wav":
          (64, 0, "025", 0)}, "guitar_acoustic_001"),
        ({"Vibes-C3-127.wav": (48, 1, "127", 0), "Vibes-C3-064.wav": (48, 0, "064", 0), "Vibes-E3-127.wav":
          (52, 1, "127", 0)}, "Vibes"),
        ({"PianoC4.wav": (60, None, "", 0), "PianoBb4Soft.wav": (70, 0, "Soft", 0), "PianoD5Hard2.wav":
          (74, 1, "Hard", 0)}, "Piano"),
        ({"pp/C4.wav": (60, 0, "pp", 0), "ff/C4.wav": (60, 1, "ff", 0), "ff/D4.wav": (62, 1, "ff", 0)}, "Grand"),
        ({"Marimba_vel064_C4.wav": (60, 0, "vel064", 0), "Marimba_vel127_C4.wav": (60, 1, "vel127", 0)}, "Marimba"),
        ({"Oboe D4 take 3.wav": (62, None, "", 1), "Oboe D4 take 1.wav": (62, None, "", 0)}, "Oboe"),
        ({"Oboe_layer3_D4.wav": (62, 1, "layer3", 0), "Oboe_lyr1_D4.wav": (62, 0, "lyr1", 0)}, "Oboe"),
    ],
)  # fmt: skip
def test_names_of_sample_libraries_are_understood(named: dict[str, Said], name: str) -> None:
    assert dict(zip(named, read(*named), strict=True)) == named
    assert common_name([FOLDER / each for each in named]) == name


@pytest.mark.parametrize(
    ("name", "key"),
    [("piano_C4", 60), ("Piano-F#3", 54), ("Bb2", 46), ("cs4", 61), ("Cs4", 61), ("c#-1", 1), ("Dsharp3", 51),
     ("Eflat3", 51), ("Fis3", 54), ("F4#", 66), ("C♯4", 61), ("snare_060_C4", 60), ("x_064_085_E4", 64),
     ("snare_C4p50", 60.5), ("n60", 60), ("note60", 60), ("midi_60", 60), ("MIDI 60", 60), ("060", 60),
     ("060_loud", 60), ("Bass_A1", 33), ("D4_rr1_mf", 62), ("DX7_C4", 60), ("808_G1", 31), ("take3_A4", 69)],
)  # fmt: skip
def test_a_single_name_tells_its_key(name: str, key: float) -> None:
    assert keys(f"{name}.wav") == [key]


@pytest.mark.parametrize(
    "name",
    ["kick 1", "snare", "2nd violin", "Flute.nonvib.ff.C4B4", "Strings C4-B4", "loop 120bpm", "C4x", "note3", "es4",
     "take 60", "violin-A-1", "G9s", "44100", "kick_16bit_2", "C12", "٦٠"],
)  # fmt: skip
def test_what_only_looks_like_a_key_is_none(name: str) -> None:
    assert keys(f"{name}.wav") == [None]


def test_what_all_names_share_is_no_key_where_other_notes_differ() -> None:
    assert keys("mic-E2_C4.wav", "mic-E2_D4.wav", "mic-E2_E2.wav") == [60, 62, 40]
    assert keys("C4_E2 mic.wav", "D4_E2 mic.wav") == [60, 62]


def test_recordings_of_one_key_share_it() -> None:
    assert read("harp_C4_rr1.wav", "harp_C4_rr2.wav") == [(60, None, "", 0), (60, None, "", 1)]


def test_a_bare_number_is_the_key_where_it_alone_differs_and_fits_all() -> None:
    assert keys("48.wav", "52.wav", "108.wav") == [48, 52, 108]
    assert keys("01 harp 48.wav", "02 harp 52.wav") == [48, 52]  # the first is too low for keys
    assert keys("harp 5.wav", "harp 60.wav") == [None, None]
    assert keys("harp 48 60.wav", "harp 52 72.wav") == [None, None]


def test_the_number_decides_which_octave_the_name_means() -> None:
    assert keys("snare_060_C3.wav", "snare_061_C#3.wav") == [60, 61]
    assert keys("C3.wav", "C#3.wav", middle_c=3) == [60, 61]


def test_notes_below_c0_are_read_among_notes_only() -> None:
    assert keys("C-1.wav", "C4.wav") == [0, 60]
    assert read("violin-A-1.wav", "violin-A-2.wav") == [(None, None, "", 0), (None, None, "", 1)]


@pytest.mark.parametrize(
    "names",
    [("kick 1.wav", "kick 2.wav", "kick 10.wav"), ("kick.wav", "kick (2).wav", "kick (10).wav"),
     ("kick_r1.wav", "kick_r2.wav", "kick_r10.wav"), ("C4_1.wav", "C4_2.wav", "C4_10.wav"),
     ("C4_rr1.wav", "C4_rr02.wav", "C4_RR10.wav")],
)  # fmt: skip
def test_takes_are_counted_in_the_order_of_their_numbers(names: tuple[str, ...]) -> None:
    assert [take for *_, take in read(*names)] == [0, 1, 2]
    assert [take for *_, take in read(*names[::-1])] == [2, 1, 0]


def test_different_sounds_without_keys_are_no_takes_of_each_other() -> None:
    assert [take for *_, take in read("deep.wav", "bright.wav", "r1.wav")] == [0, 0, 0]


def test_no_two_recordings_of_a_key_and_layer_are_the_same_take() -> None:
    read_twice = read("C4_sus.wav", "C4_pizz.wav", "C4_sus_rr2.wav", "C4_mf.wav")
    assert len({(key, layer, take) for key, layer, _, take in read_twice}) == 4


def test_layers_are_ranked_from_soft_to_loud() -> None:
    names = ["ppp", "pp", "p", "mp", "mf", "f", "ff", "fff"]
    assert [layer for _, layer, *_ in read(*(f"C4_{name}.wav" for name in names[::-1]))] == [7, 6, 5, 4, 3, 2, 1, 0]
    words = [f"C4 {word}.wav" for word in ("Soft", "Medium", "Loud")]
    assert [layer for _, layer, *_ in read(*words)] == [0, 1, 2]


def test_a_recording_whose_name_tells_no_dynamics_has_no_layer() -> None:
    assert [layer for _, layer, *_ in read("C4_mf.wav", "D4.wav")] == [0, None]


@given(st.sets(st.integers(0, 127), max_size=5), st.integers(1, 3), st.integers(1, 2), st.sampled_from((3, 4, 5)))
def test_what_hgs_writes_hgs_reads(notes: set[int], layers: int, takes: int, middle_c: int) -> None:
    # Notes below C0 are read among others only, so there is one that is not.
    asked = [(note, layer, take) for note in notes | {60} for layer in range(layers) for take in range(takes)]
    names = [f"snare_{n:03d}_{note_tag(n, middle_c)}_v{layer + 1}_take{take + 1}.wav" for n, layer, take in asked]
    assert [(key, layer, take) for key, layer, _, take in read(*names, middle_c=middle_c)] == asked


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), max_size=5))
def test_any_names_are_read(names: list[str]) -> None:
    paths = [Path(name) for name in names]
    assert [one.path for one in read_names(paths)] == paths
    assert bool(common_name(paths)) == bool(paths)


def test_an_instrument_without_a_common_name_is_called_as_its_folder() -> None:
    assert common_name([FOLDER / "C4.wav"]) == "Grand"
    assert common_name([FOLDER / "oboe.wav", FOLDER / "flute.wav"]) == "Grand"
    assert common_name([FOLDER / "soft" / "C4.wav", FOLDER / "loud" / "C4.wav"]) == "Grand"
    assert common_name([FOLDER / "Old Oboe.wav"]) == "Old Oboe"


def mapped(tmp_path: Path, name: str, text: str | bytes, sounds: tuple[str, ...]) -> list[MappedSample]:
    for sound in sounds:
        (tmp_path / sound).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / sound).touch()
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_map(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    ["file,key,velocity,take\na b.wav,C4,1-64,1\nb.wav,60.5,100,\n",
     "\ufeffFile;Key;Velocity;Take\r\na b.wav;c4;1-64;1\r\n\r\nb.wav;60,5;100;\r\n",
     'take\tsample\tnote\tvel\n1\t"a b.wav"\t60\t1..64\n\tb.wav\tC4+50\t100\n'],
)  # fmt: skip
def test_a_csv_tells_keys_velocities_and_takes(tmp_path: Path, text: str) -> None:
    assert mapped(tmp_path, "map.csv", text, ("a b.wav", "b.wav")) == [
        MappedSample(tmp_path / "a b.wav", 60.0, (1, 64), None, 1),
        MappedSample(tmp_path / "b.wav", 60.5, (100, 100), None, 0),
    ]


SFZ = r"""// A library
/* of several
lines */ <control> default_path=Samples\ #define $LOUD 64
<global> lovel=1 hivel=127
<group> hivel=63
<region> sample=soft C4.wav lokey=58 hikey=61 pitch_keycenter=c4 tune=-7
<region> sample=soft E4.wav key=64 // the only third
<group> lovel=$LOUD
<region> key=60
sample=loud C4.wav
seq_position=1 seq_length=2
<region> key=60 sample=LOUD c4 b.WAV seq_position=2<region> sample=only.wav lokey=40 hikey=40
<region> sample=*silence key=20
<region> sample=release.wav key=20 trigger=release
<region> sample=pedal.wav hikey=-1
<curve> v000=0
"""
SFZ_SOUNDS = ("soft C4.wav", "soft E4.wav", "loud C4.wav", "loud C4 b.wav", "only.wav")


@pytest.mark.parametrize("text", [SFZ, SFZ.replace("\n", "\r\n"), "\ufeff" + SFZ])
def test_an_sfz_tells_what_its_regions_inherit(tmp_path: Path, text: str) -> None:
    sounds = tuple(f"Samples/{name}" for name in SFZ_SOUNDS)
    where = tmp_path / "Samples"
    assert mapped(tmp_path, "a.sfz", text, sounds) == [
        MappedSample(where / "soft C4.wav", 60.0, (1, 63), None, 1),
        MappedSample(where / "soft E4.wav", 64.0, (1, 63), None, 1),
        MappedSample(where / "loud C4.wav", 60.0, (64, 127), None, 1),
        MappedSample(where / "loud C4 b.wav", 60.0, (64, 127), None, 2),
        MappedSample(where / "only.wav", 40.0, (64, 127), None, 1),
    ]
    assert [(*said(one)[:2], one.take) for one in facts_of_map(read_map(tmp_path / "a.sfz"))] == [
        (60.0, 0, 0), (64.0, 0, 0), (60.0, 1, 0), (60.0, 1, 1), (40.0, 1, 0),
    ]  # fmt: skip


def test_an_sfz_may_include_others_and_shift_its_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("<region> sample=$NAME.wav key=60\n<region> key=62 sample=$NAME.wav lovel=9\n")
    text = '<control> octave_offset=1\n#define $NAME a\n#include "keys.txt"\n'
    assert mapped(tmp_path, "a.sfz", text, ("a.wav",)) == [MappedSample(tmp_path / "a.wav", 72.0, None, None, 1)]


def test_a_sound_of_several_regions_has_all_their_velocities(tmp_path: Path) -> None:
    text = "<group>key=60 sample=a.wav <region>lovel=1 hivel=40 <region>lovel=41 hivel=90"
    assert mapped(tmp_path, "a.sfz", text, ("a.wav",)) == [MappedSample(tmp_path / "a.wav", 60.0, (1, 90), None, 1)]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [("a.csv", "file,key\na.wav,H4\n", "line 2: 'H4' is not a note"),
     ("a.csv", "file,key\na.wav\n", "line 2: a.wav has no key"),
     ("a.csv", "file,key\n\nb.wav,60\n", "line 3: there is no file b.wav"),
     ("a.csv", "file,key\n,60\n", "line 2: no file is named"),
     ("a.csv", "name,key\na.wav,60\n", "line 1: there is no column 'file'"),
     ("a.csv", "file,key,velocity\na.wav,60,200\n", "line 2: velocity '200' is none"),
     ("a.csv", "file,key,take\na.wav,60,one\n", "line 2: take 'one' is no whole number"),
     ("a.csv", "", "a.csv is empty"),
     ("a.csv", "file,key\n", "a.csv names no recordings"),
     ("a.csv", "file,key\na\0.wav,60\n", "line 2: "),
     ("a.sfz", "\n<region>\nsample=b.wav key=60", "line 2: there is no file b.wav"),
     ("a.sfz", "<region> sample=a.wav key=200", "line 1: key 200 is outside the MIDI range"),
     ("a.sfz", "<region> sample=a.wav key=h4", "line 1: key=h4 is not understood"),
     ("a.sfz", "<region> sample=a.wav pitch_keycenter=sample", "line 1: pitch_keycenter=sample tells no key"),
     ("a.sfz", '#include "a.sfz"', "line 1: files include one another without end"),
     ("a.sfz", "nothing", "a.sfz names no recordings"),
     ("a.txt", "", "a.txt is no map of recordings")],
)  # fmt: skip
def test_a_map_that_cannot_be_used_says_where_and_why(tmp_path: Path, name: str, text: str, what: str) -> None:
    with pytest.raises(InputError) as raised:
        mapped(tmp_path, name, text, ("a.wav",))
    assert what in raised.value.what
    assert str(tmp_path / name) in raised.value.what
    assert "\n" not in str(raised.value)


def test_a_missing_map_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: no such file"):
        read_map(tmp_path / "none.csv")


def test_recordings_may_lie_in_another_folder_than_their_map(tmp_path: Path) -> None:
    mapped(tmp_path, "sounds/a.csv", "file,key\na.wav,60\n", ("sounds/a.wav",))
    (tmp_path / "sounds" / "a.csv").rename(tmp_path / "b.csv")
    assert read_map(tmp_path / "b.csv", tmp_path / "sounds")[0].path == tmp_path / "sounds" / "a.wav"


@given(st.binary(max_size=200), st.sampled_from((".csv", ".sfz")))
def test_any_map_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes((b"file,key\n" if suffix == ".csv" else b"<region>") + raw)
    with pytest.raises(InputError):
        read_map(path)


@pytest.mark.parametrize(
    ("velocities", "layers"),
    [([(60, (1, 63)), (60, (64, 127)), (62, (1, 63))], [0, 1, 0]),
     ([(60, (1, 40)), (60, (41, 80)), (60, (81, 127)), (62, (1, 63)), (62, (64, 127))], [0, 1, 2, 0, 2]),
     ([(60, (30, 30)), (62, (100, 100))], [0, 1]),
     ([(60, (1, 127)), (62, (2, 127))], [0, 0]),
     ([(60, None), (62, (1, 63))], [None, 0])],
)  # fmt: skip
def test_layers_of_a_map_are_ranked_by_velocity(
    velocities: list[tuple[float, tuple[int, int] | None]], layers: list[int | None]
) -> None:
    samples = [MappedSample(Path(f"{i}.wav"), key, range_) for i, (key, range_) in enumerate(velocities)]
    assert [one.layer for one in facts_of_map(samples)] == layers


def test_layers_and_takes_of_a_map_may_count_from_anything() -> None:
    samples = [MappedSample(Path(f"{i}.wav"), 60.0, None, layer, take) for i, (layer, take) in
               enumerate([(3, 7), (1, 1), (3, 2)])]  # fmt: skip
    assert [said(one) for one in facts_of_map(samples)] == [(60, 1, "3", 1), (60, 0, "1", 0), (60, 1, "3", 0)]


def test_names_are_read_without_heavy_modules() -> None:
    code = "import sys, hgs_cli.multisample.names; sys.exit(bool({'numpy', 'torch', 'soundfile'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
