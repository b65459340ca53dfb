//! YAML 1.1 as Python reads it: `yaml.safe_load`, with the line of every node.
//!
//! MLproject files are written for PyYAML's safe loader, and parameters become the text that Python's `str()` makes of
//! what it loads: `1.50` is `1.5`, `010` is `8`, `yes` is `True`. The syntax is read by `saphyr-parser`; this module
//! refuses what PyYAML refuses (`strict`), resolves scalars (`scalar`), builds values ([`load()`]) and writes them as Python does: as texts (`text`) and as YAML
//! ([`dump()`]).
//!
//! Source: <https://yaml.org/spec/1.1/>, <https://yaml.org/type/>; the patterns of scalars are those of PyYAML 6.

mod dump;
mod error;
mod load;
mod scalar;
mod strict;
mod text;
mod value;

pub use dump::dump;
pub use error::YamlError;
pub use load::load;
pub use value::{Integer, Moment, Node, Value};
