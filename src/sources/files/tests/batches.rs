//! Record batches as engines send them: the same rows, and the same counts of faults, as the same data in Parquet.

use std::fs::File;

use ::parquet::arrow::ArrowWriter;
use arrow_array::builder::{
    Float64Builder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder, StringViewBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::types::{ArrowPrimitiveType, Float16Type, Int8Type, Int32Type};
use arrow_array::{
    BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array, Decimal64Array,
    Decimal128Array, Decimal256Array, DictionaryArray, DurationSecondArray, FixedSizeListArray, Float16Array,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray, LargeListArray,
    LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray,
    Time32MillisecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{Field, Fields};

use super::*;
use crate::sources::rows::Reading;
use crate::sources::rows::batches::Batches;

type Half = <Float16Type as ArrowPrimitiveType>::Native;

const TEXTS: [Option<&str>; 12] = [
    Some("sliced off"),
    Some("a"),
    Some(""),
    None,
    Some(" tRuE "),
    Some("4"),
    Some("2.25"),
    Some("2020-06-30 07:50:04:062+0000"),
    Some("2020-06-30"),
    Some("{'completedCount': 4, 'other': 2}"),
    Some("['x', 'y']"),
    Some("NaN"),
];

fn texts() -> Vec<ArrayRef> {
    let bytes: Vec<Option<&[u8]>> =
        TEXTS.iter().map(|text| text.map(str::as_bytes)).chain([Some(b"J\xfcrgen".as_slice())]).collect();
    let mut coded = StringDictionaryBuilder::<Int8Type>::new();
    coded.extend(TEXTS);
    vec![
        Arc::new(StringArray::from(TEXTS.to_vec())),
        Arc::new(LargeStringArray::from(TEXTS.to_vec())),
        Arc::new(StringViewArray::from(TEXTS.to_vec())),
        Arc::new(BinaryArray::from(bytes.clone())),
        Arc::new(LargeBinaryArray::from(bytes.clone())),
        Arc::new(BinaryViewArray::from(bytes)),
        Arc::new(TEXTS.into_iter().collect::<DictionaryArray<Int32Type>>()),
        Arc::new(coded.finish()),
    ]
}

fn numbers() -> Vec<ArrayRef> {
    let floats = [9.0, 4.0, 4.5, f64::NAN, f64::INFINITY, -0.25, 1e300].map(Some);
    let floats: Vec<Option<f64>> = floats.into_iter().chain([None]).collect();
    let decimals = || [9, 400, -425, 0].map(Some).into_iter().chain([None]);
    macro_rules! decimal {
        ($array:ty, $from:expr) => {
            Arc::new(
                decimals()
                    .map(|value: Option<i32>| value.map($from))
                    .collect::<$array>()
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            )
        };
    }
    #[allow(clippy::cast_possible_truncation, reason = "as the narrow types hold them")]
    let (singles, halves) = (
        floats.iter().map(|value| value.map(|value| value as f32)).collect::<Float32Array>(),
        floats.iter().map(|value| value.map(Half::from_f64)).collect::<Float16Array>(),
    );
    vec![
        Arc::new(BooleanArray::from(vec![None, Some(true), Some(false), None])),
        Arc::new(Int8Array::from(vec![None, Some(1), Some(-7), None])),
        Arc::new(Int16Array::from(vec![None, Some(0), Some(-700), None])),
        Arc::new(Int32Array::from(vec![None, Some(1), Some(-70_000), None])),
        Arc::new(Int64Array::from(vec![None, Some(1), Some(i64::MIN), None])),
        Arc::new(UInt8Array::from(vec![None, Some(1), Some(255), None])),
        Arc::new(UInt16Array::from(vec![None, Some(0), Some(65_535), None])),
        Arc::new(UInt32Array::from(vec![None, Some(1), Some(u32::MAX), None])),
        Arc::new(UInt64Array::from(vec![None, Some(1), Some(u64::MAX), None])),
        Arc::new(Float64Array::from(floats)),
        Arc::new(singles),
        Arc::new(halves),
        decimal!(Decimal32Array, |value| value),
        decimal!(Decimal64Array, i64::from),
        decimal!(Decimal128Array, i128::from),
        decimal!(Decimal256Array, arrow_buffer::i256::from),
        Arc::new(NullArray::new(3)),
    ]
}

/// Instants of 2020, of 1969 and of the last day of 9999, seconds since 1970.
const SECONDS: [Option<i64>; 5] = [Some(1), Some(1_593_503_404), Some(-1), Some(253_402_214_400), None];

fn times() -> Vec<ArrayRef> {
    let scaled = |factor: i64| SECONDS.map(|second| second.and_then(|second| second.checked_mul(factor))).to_vec();
    let mut all: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![Some(1), Some(18_443), Some(-1), None])),
        Arc::new(Date64Array::from(vec![Some(0), Some(18_443 * 86_400_000), None])),
        Arc::new(Time32MillisecondArray::from(vec![Some(0), Some(28_204_062), None])),
        Arc::new(Time64NanosecondArray::from(vec![Some(0), Some(28_204_062_000_001), None])),
        Arc::new(DurationSecondArray::from(vec![Some(0), Some(5), None])),
    ];
    for zone in [None, Some("UTC"), Some("+05:30"), Some("Asia/Kolkata")] {
        let zone = || zone.map(Arc::<str>::from);
        all.push(Arc::new(TimestampSecondArray::from(scaled(1)).with_timezone_opt(zone())));
        all.push(Arc::new(TimestampMillisecondArray::from(scaled(1_000)).with_timezone_opt(zone())));
        all.push(Arc::new(TimestampMicrosecondArray::from(scaled(1_000_000)).with_timezone_opt(zone())));
        all.push(Arc::new(TimestampNanosecondArray::from(scaled(1_000_000_000)).with_timezone_opt(zone())));
    }
    all
}

type Entry = (&'static str, Option<i64>);

/// Maps of these entries; `None`: no map.
fn maps() -> Vec<ArrayRef> {
    let entries: [Option<&[Entry]>; 6] = [
        Some(&[("completedCount", Some(1))]),
        Some(&[("other", Some(9)), ("completedCount", Some(4))]),
        Some(&[("other", Some(9))]),
        Some(&[("completedCount", None)]),
        Some(&[]),
        None,
    ];
    let mut whole = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    let mut floats = MapBuilder::new(None, StringViewBuilder::new(), Float64Builder::new());
    let mut instants = MapBuilder::new(None, StringBuilder::new(), TimestampMillisecondBuilder::new());
    let mut spelled = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for map in entries {
        for (key, value) in map.into_iter().flatten() {
            whole.keys().append_value(key);
            floats.keys().append_value(key);
            instants.keys().append_value(key);
            spelled.keys().append_value(key);
            whole.values().append_option(*value);
            floats.values().append_option(value.map(|value| if value == 4 { 4.5 } else { 9.0 }));
            instants.values().append_option(value.map(|value| value * 1_000));
            spelled.values().append_option(value.map(|value| value.to_string()));
        }
        whole.append(map.is_some()).unwrap();
        floats.append(map.is_some()).unwrap();
        instants.append(map.is_some()).unwrap();
        spelled.append(map.is_some()).unwrap();
    }
    vec![Arc::new(whole.finish()), Arc::new(floats.finish()), Arc::new(instants.finish()), Arc::new(spelled.finish())]
}

fn lists() -> Vec<ArrayRef> {
    let cells = [Some(vec![Some(1)]), Some(vec![Some(1), None]), Some(vec![]), None];
    let pairs = [Some([1, 2].map(Some)), Some([Some(3), None]), None];
    let mut views = ListBuilder::new(StringViewBuilder::new());
    views.append_value([Some("x")]);
    views.append_value([Some("a text of more than twelve bytes"), None, Some("")]);
    views.append_null();
    let counts = Arc::new(Int64Array::from(vec![Some(1), Some(4), None, Some(7)])) as ArrayRef;
    let names = Arc::new(StringArray::from(vec![Some("n"), None, Some("m"), Some("o")])) as ArrayRef;
    let fields = Fields::from(vec![
        Field::new("completedCount", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    let there = NullBuffer::from(vec![true, true, true, false]);
    vec![
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(cells.clone())),
        Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(cells)),
        Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2)),
        Arc::new(views.finish()),
        Arc::new(StructArray::new(fields, vec![counts, names], Some(there))),
    ]
}

const KINDS: [Kind; 9] = [
    Kind::Text,
    Kind::Bool,
    Kind::Count,
    Kind::CompletedCount,
    Kind::Decimal,
    Kind::Instant,
    Kind::LastUpdated,
    Kind::Entries,
    Kind::Json,
];

/// The rows and the counts that do not depend on how they were read. `None`: the type is refused.
type Compared = Option<(Vec<String>, Vec<(String, u64)>, Vec<(String, u64)>, u64)>;

fn compared(read: Option<Read>) -> Compared {
    let listed = |counts: &std::collections::BTreeMap<String, u64>| counts.clone().into_iter().collect();
    read.map(|Read { rows, stats }| (rows, listed(&stats.bad), listed(&stats.odd), stats.unreadable_dates))
}

fn from_file(batch: &RecordBatch, scan: &Scan) -> Compared {
    let directory = tempfile::tempdir().unwrap();
    let file = File::create(directory.path().join(format!("{}.parquet", scan.table))).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    compared(read(directory.path(), scan).ok())
}

fn from_batch(batch: &RecordBatch, scan: &Scan) -> Compared {
    let read = collected(|sink| {
        let settings = settings();
        let reading = Reading::new(scan, &settings, sink);
        let schema = batch.schema();
        let names = || schema.fields().iter().map(|field| field.name().as_bytes());
        let places = reading.spellings().among(names).unwrap();
        Batches::new(&reading, places, "a batch").take(batch, 0)
    });
    compared(read.ok())
}

/// Every type as every kind, in a batch that begins in the middle of its arrays, whole and by keys.
#[test]
fn every_type_is_taken_as_the_same_parquet_is() {
    let mut taken = 0;
    for array in [texts(), numbers(), times(), maps(), lists()].concat() {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values((0..array.len()).map(|row| format!("k{row}"))));
        for (kind, asked, stored) in
            KINDS.map(|kind| (kind, "x", "x")).into_iter().chain([(Kind::CompletedCount, "agg", "completedCount")])
        {
            let columns = [("activity_id", Arc::clone(&keys), true), (stored, Arc::clone(&array), true)];
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let batch = batch.slice(1, batch.num_rows() - 1);
            for only in [None, Some(["k2", "k3"].as_slice())] {
                let columns = vec![Column::key("activity_id"), Column::optional(asked, kind)];
                let scan = scan(Table::UserActivityAgg, columns, only);
                let (of_batch, of_file) = (from_batch(&batch, &scan), from_file(&batch, &scan));
                assert_eq!(of_batch, of_file, "{} as {kind:?} ({stored}), keys {only:?}", array.data_type());
                taken += of_batch.map_or(0, |(rows, ..)| rows.len());
            }
        }
    }
    assert!(taken > 2_000, "{taken} rows in all: nothing was compared");
}
