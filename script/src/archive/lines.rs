//! The original's name and lines, so that an error in a loaded program names them: `[byte of the text, line, column]`,
//! ascending, each for all that follows up to the next.

use super::damaged;
use crate::code::Code;
use crate::diagnostics::SourceFile;
use runtime::error::Result;
use runtime::origin::OriginalPlace;
use serde_json::{Value as Json, json};

/// The longest name of a file.
const NAME: usize = 4096;

pub(super) fn encode(source: &SourceFile, code: &Code) -> String {
    let mut places: Vec<[u64; 3]> = Vec::new();
    for &(byte, from) in &code.places {
        // A program that was loaded itself passes on the lines of its original.
        let (line, column) = source.original(from);
        if places.last().is_none_or(|p| p[1..] != [u64::from(line), u64::from(column)]) {
            places.push([u64::from(byte), u64::from(line), u64::from(column)]);
        }
    }
    json!({ "name": source.name, "places": places }).to_string()
}

pub(super) fn decode(text: &str, program: &str) -> Result<(String, Vec<OriginalPlace>)> {
    let wrong = |what: &str| damaged(format!("entry \"code/lines.json\": {what}"));
    let json: Json = serde_json::from_str(text).map_err(|e| wrong(&e.to_string()))?;
    let name = json.get("name").and_then(Json::as_str).filter(|n| n.len() <= NAME && !n.is_empty());
    let name = name.ok_or_else(|| wrong("the name of the program is missing"))?;
    let list = json.get("places").and_then(Json::as_array).ok_or_else(|| wrong("the places are missing"))?;
    let mut places: Vec<OriginalPlace> = Vec::new();
    for place in list {
        let number = |i: usize| place.get(i).and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
        let (Some(byte), Some(line), Some(column)) = (number(0), number(1), number(2)) else {
            return Err(wrong(&format!("{place} is no place")));
        };
        let fits = byte as usize <= program.len() && places.last().is_none_or(|last| last.byte < byte);
        if !fits || line == 0 || column == 0 {
            return Err(wrong(&format!("{place} is no place after the one before")));
        }
        places.push(OriginalPlace { byte, line, column });
    }
    Ok((name.to_string(), places))
}
