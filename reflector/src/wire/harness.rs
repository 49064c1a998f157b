//! What must hold for any bytes: run by the fuzz targets, and over their corpus by the tests here.

mod lines;
mod lists;
mod objects;
mod places;
#[cfg(test)]
mod tests;

pub use self::{
    lines::framing,
    lists::splitter,
    objects::{envelope, event, reader},
    places::{index, skipping},
};
